"""Tells patients apart without knowing them: a hash of what a file calls its patient, for this program's memory alone.

A plain hash of a number can be guessed, so nothing may write it: `medseg_rl.journal.patient_id` salts it first.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

PATIENT = "patient_sha256"  # in `Volume.source`
_TAGS = ("SpecificCharacterSet", "PatientID", "IssuerOfPatientID")


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
