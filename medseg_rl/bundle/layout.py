"""Which file of a bundle is what, and the manifest of hashes that tells whether they are as they were written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from medseg_rl.errors import BundleError

FORMAT_VERSION = 1  # of what our part of metadata.json means; a reader refuses a higher one

MANIFEST = "manifest.json"
METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
AGENT_WEIGHTS = "models/agent.safetensors"
AUTOMATIC_WEIGHTS = "models/automatic.safetensors"
MODEL_CARD = "docs/README.md"
LICENCE = "LICENSE"
REQUIRED = (METADATA, INFERENCE, MODEL_CARD, LICENCE)


def file_hash(content: bytes) -> str:
    """SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()


def bundle_hash(files: dict[str, str]) -> str:
    """SHA-256 over sorted lines "relative path, file SHA-256": identifies a bundle in journals and manifests."""
    lines = sorted(f"{path}, {digest}\n" for path, digest in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object. Raises `BundleError` where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; {_way_out(path)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error}); {_way_out(path)}") from None
    if not isinstance(content, dict):
        raise BundleError(f"{path} holds no JSON object; {_way_out(path)}")
    return content


def checked_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file by its path inside the bundle, after all were found to be as the manifest says.

    Raises `BundleError` naming the first file that is missing or differs.
    """
    files = read_json(folder / MANIFEST).get("files")
    if not isinstance(files, dict):
        raise BundleError(f"{folder / MANIFEST} lists no files; copy the bundle again")
    missing = [name for name in REQUIRED if name not in files]
    if missing or not {AGENT_WEIGHTS, AUTOMATIC_WEIGHTS} & set(files):
        raise BundleError(f"{folder} is incomplete: {missing[0] if missing else 'no weights'} is not in its manifest")
    for name, digest in files.items():
        read_checked(folder, name, str(digest))
    return {str(name): str(digest) for name, digest in files.items()}


def read_checked(folder: Path, name: str, digest: str) -> bytes:
    """Bytes of a file of the bundle if they have that SHA-256. Raises `BundleError`."""
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise BundleError(f"{folder / MANIFEST} names {name}, which lies outside the bundle; do not use this bundle")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / name} is missing ({error.strerror}); copy the bundle again") from None
    if file_hash(content) != digest:
        raise BundleError(f"{folder / name} is corrupted: its hash is not the manifest's; copy the bundle again")
    return content


def _way_out(path: Path) -> str:
    return (
        f"{path.parent.name if path.name == MANIFEST else path.parent.parent.name} is no complete bundle, copy it again"
    )
