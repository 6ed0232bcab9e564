"""The name of a case that gives nobody away: a salted hash of its image. The salt stays in the user's own folder."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from medseg_rl.errors import InputFileError, OutputError
from medseg_rl.imageio.atomic import atomic_path, make_folder
from medseg_rl.user_data import user_data_folder

SALT_FILE = "case-salt"
CASE_NAME = re.compile(r"case-[0-9a-f]{8}")
_SALT = re.compile(r"[0-9a-f]{64}")


def case_id(content_hash: str, folder: Path | None = None) -> str:
    """ "case-" and 8 hex digits, the same for the same image on this computer, unlike on any other.

    `content_hash`: of the image, as `medseg_rl.volume.content_hash` gives it. `folder`: of the salt, the user's own
    unless given. Raises OutputError when the salt cannot be kept, InputFileError when it cannot be read.
    """
    salt = _salt(user_data_folder() if folder is None else folder)
    return "case-" + hashlib.sha256(f"{salt}:{content_hash}".encode("ascii")).hexdigest()[:8]


def patient_id(patient_hash: str, folder: Path | None = None) -> str:
    """ "patient-" and 8 hex digits for what `imageio` calls a patient's hash; the rest as for `case_id`."""
    salt = _salt(user_data_folder() if folder is None else folder)
    return "patient-" + hashlib.sha256(f"{salt}:patient:{patient_hash}".encode()).hexdigest()[:8]


def _salt(folder: Path) -> str:
    path = folder / SALT_FILE
    if not path.exists():
        try:
            make_folder(folder)
        except OSError as error:
            raise OutputError(
                f"cannot make {folder}: {error.strerror or error}; choose another MEDSEG_RL_HOME"
            ) from None
        with atomic_path(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32), encoding="ascii")
    try:
        salt = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise InputFileError(f"the salt of the case names {path} cannot be read ({error}); remove it") from None
    if not _SALT.fullmatch(salt):
        raise InputFileError(f"{path} is no salt of case names; remove it: cases get new names then")
    return salt
