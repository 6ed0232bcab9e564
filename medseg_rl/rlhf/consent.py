"""What a user allows to be stored of their feedback. Without a valid consent nothing is; silence is a no.

Consent is to a text of a certain version: when the text changes, the old consent holds no longer and is asked anew.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from medseg_rl.errors import MedSegError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.rlhf.json_values import as_json, from_json
from medseg_rl.rlhf.records import now_utc

CONSENT_VERSION = 1
CONSENT_TEXT = """\
May this program store what you do, so that it can learn from it on this computer?

Stored are: masks inside the region you worked on, where you clicked, painted or gave a command, which candidates you
preferred, how long you took, and which model proposed what. Cases and patients are named by salted hashes.
With a second tick, the image voxels of that region are stored too; without them, most learning is not possible.
Not stored are: names, numbers, dates of birth, file names, file headers, label names.

Everything stays in a folder of your own on this computer. This program opens no network connection, and learning starts
only when you start it. You can look at what is stored, export it, delete all of it, and take your consent back.
"""
LARGEST_FILE = 65536


class ConsentError(MedSegError):
    """Something was to be stored that the user did not allow."""


@dataclass(frozen=True)
class Consent:
    """The answer to `CONSENT_TEXT` of `version`: the default is "Do not store". `annotator`: a pseudonym."""

    version: int = CONSENT_VERSION
    store: bool = False
    images: bool = False
    given_utc: str | None = None
    annotator: str | None = None

    @property
    def allows_storing(self) -> bool:
        """Whether records may be stored: said yes, and to the text of this version."""
        return self.store and self.version == CONSENT_VERSION and self.annotator is not None

    @property
    def allows_images(self) -> bool:
        """Whether image voxels may be stored with them."""
        return self.allows_storing and self.images

    @property
    def line(self) -> str:
        """One line for a person."""
        if self.store and not self.allows_storing:
            return f"given to version {self.version} of the text, which is now {CONSENT_VERSION}: nothing is stored"
        if not self.store:
            return "do not store"
        return f"store masks and actions{' and image voxels' if self.images else ', no image voxels'}"


def read_consent(path: Path) -> Consent:
    """The consent in a file; "Do not store" where there is none, or where it cannot be understood."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            return Consent()
        return from_json(Consent, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return Consent()


def write_consent(path: Path, *, store: bool, images: bool = False) -> Consent:
    """Write an answer given now. The pseudonym of an earlier one is kept. Raises ConsentError, OutputError."""
    if images and not store:
        raise ConsentError("image voxels are stored with the records they belong to; allow storing records first")
    annotator = read_consent(path).annotator or f"annotator-{secrets.token_hex(4)}"
    consent = Consent(CONSENT_VERSION, store, images, now_utc(), annotator)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(as_json(consent), indent=2) + "\n", encoding="utf-8")
    return consent
