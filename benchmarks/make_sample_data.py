"""Makes the crops in sample_data/ again from Debian's package mricron-data, and the phantom from its seed.

    apt-get download mricron-data && dpkg -x mricron-data_*.deb mricron
    make sample-data SOURCE=mricron
    make sample-data                  (the phantom alone)

Refuses inputs whose SHA-256 is not that of the files the samples were made from.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt

from medseg_rl.synthetic import phantom
from medseg_rl.volume import Box, Volume

TEMPLATES = Path("usr/share/mricron/templates")
T1 = ("ch2.nii.gz", "a009051127f64dc3dd554d5f5b589870ea72106d9642c21b4e7093e478cfc309")
LABELS = ("aal.nii.gz", "b512dcd3f36b77f56be7a9a038134096e66314b7e8c31d25875b96bcf6991454")
HIPPOCAMPUS = {"left": 37, "right": 38}  # values in the label file
MARGIN = 6  # voxels of 1 mm
MNI_SPACE, SCANNER_SPACE = 4, 1  # NIfTI codes
PHANTOM_SEED = 3
PHANTOM_SHAPE, PHANTOM_SPACING, PHANTOM_TURN = (48, 40, 20), (1.0, 1.0, 2.5), 12.0  # voxels, mm, degrees about x
OUTPUT = Path(__file__).resolve().parent.parent / "sample_data"


def make_crops(source: Path) -> None:
    """Writes image and label of both sides. Both files lie on one grid of 1 mm, axes R, A, S."""
    t1, labels = (_checked(source / TEMPLATES, *entry) for entry in (T1, LABELS))
    for side, value in HIPPOCAMPUS.items():
        inside = np.asanyarray(labels.dataobj) == value
        box = Box.around_mask(inside)
        assert box is not None
        box = box.grown(MARGIN, Volume(inside, labels.affine).shape)
        image = Volume(np.asanyarray(t1.dataobj), t1.affine).crop(box)
        _write(f"hippocampus_{side}_t1.nii.gz", image.array, image.affine, MNI_SPACE)
        _write(f"hippocampus_{side}_label.nii.gz", inside[box.slices].astype(np.uint8), image.affine, MNI_SPACE)
        print(f"{side}: {image.shape} voxels of 1 mm, {int(inside.sum())} inside")


def make_phantom() -> None:
    """Writes a generated volume with thick, oblique slices and several labels."""
    made = phantom(PHANTOM_SHAPE, PHANTOM_SPACING, np.random.default_rng(PHANTOM_SEED))
    turn = np.radians(PHANTOM_TURN)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * PHANTOM_SPACING
    affine[:3, 3] = (-20.0, -15.0, -25.0)
    low, high = made.image.min(), made.image.max()
    image = np.round((made.image - low) / (high - low) * 1000).astype(np.int16)
    _write("phantom_image.nii.gz", image, affine, SCANNER_SPACE)
    _write("phantom_label.nii.gz", made.labels, affine, SCANNER_SPACE)
    print(f"phantom: {image.shape} voxels, labels {np.unique(made.labels).tolist()}")


def _checked(source: Path, name: str, digest: str) -> nib.Nifti1Image:
    path = source / name
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{path} is not the file the samples were made from (its SHA-256 differs)")
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return image


def _write(name: str, array: npt.NDArray[np.integer], affine: npt.NDArray[np.float64], space: int) -> None:
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, space)
    image.set_qform(affine, space)
    image.header.set_xyzt_units("mm")
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / name).write_bytes(gzip.compress(image.to_bytes(), mtime=0))  # no time stamp: same input, same bytes


if __name__ == "__main__":
    make_phantom()
    if len(sys.argv) > 1 and sys.argv[1]:
        make_crops(Path(sys.argv[1]))
