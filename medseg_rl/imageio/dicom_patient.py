"""What files say of their patient: a hash that tells patients apart, and the words, for the screen alone.

A plain hash of a number can be guessed, so nothing may write it: `medseg_rl.journal.patient_id` salts it first. Nothing
may keep the words either: they are read again from the image whenever somebody asks to see them.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

PATIENT = "patient_sha256"  # in `Volume.source`
_TAGS = ("SpecificCharacterSet", "PatientID", "IssuerOfPatientID")
_SHOWN = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate")


def patient_hash(path: Path) -> str | None:
    """SHA-256 of patient number and its issuer; None where the file has no number. A name alone tells too little."""
    from medseg_rl.imageio.dicom_slices import read_header

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break the rules of their type
            header = read_header(path, _TAGS)
            number = str(header.get("PatientID") or "").strip()
            issuer = str(header.get("IssuerOfPatientID") or "").strip()
    except Exception:  # parsers raise whatever they like; the reader of the images says what is wrong
        return None
    return hashlib.sha256(f"{issuer}\n{number}".encode()).hexdigest() if number else None


def patient_words(path: Path, series_uid: str) -> dict[str, str]:
    """Name, number, birth date and study date of a series by their DICOM keywords; what a file lacks is left out.

    `path`: where the series lies, a file or a folder. Empty where it is there no more.
    """
    from medseg_rl.imageio.dicom_slices import read_header

    for file in [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = read_header(file, ("SpecificCharacterSet", "SeriesInstanceUID", *_SHOWN))
                if str(header.get("SeriesInstanceUID") or "") == series_uid:
                    words = {name: str(header.get(name) or "").strip() for name in _SHOWN}
                    return {name: text for name, text in words.items() if text}
        except Exception:  # parsers raise whatever they like; what is no DICOM is not of the series
            continue
    return {}
