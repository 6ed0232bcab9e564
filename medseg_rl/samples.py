"""Finds the small volumes that ship with the project, from a checkout and from an installed wheel alike. Opens none."""

from __future__ import annotations

from pathlib import Path

from medseg_rl.errors import InputFileError

_PACKAGE = Path(__file__).resolve().parent


def sample_folder() -> Path:
    """The folder of samples. Raises InputFileError when the installation lacks it."""
    for folder in (_PACKAGE / "_sample_data", _PACKAGE.parent / "sample_data"):  # wheel, checkout
        if folder.is_dir():
            return folder
    raise InputFileError("this installation has no sample data; install the wheel again or use a checkout")


def sample_names() -> tuple[str, ...]:
    """File names that `sample_path` takes."""
    return tuple(sorted(path.name for path in sample_folder().glob("*.nii.gz")))


def sample_path(name: str) -> Path:
    """Path of one sample, such as "hippocampus_right_t1.nii.gz". Raises InputFileError with the names there are."""
    path = sample_folder() / name
    if not path.is_file():
        raise InputFileError(f'there is no sample "{name}"; there are {", ".join(sample_names())}')
    return path
