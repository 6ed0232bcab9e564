"""The cases that the stories are told on: an image, what is to be found in it, and where a user would click."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.imageio import read_volume
from medseg_rl.samples import sample_path
from medseg_rl.volume import Volume
from medseg_rl_gui.slice_geometry import Plane, Point
from tests.gui.dicom_files import write_series

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class StoryCase:
    """`target`: True in what the user has in mind; the program never sees it. `window_key`: what makes it seen best."""

    name: str
    image: Volume
    target: Mask
    modality: str
    description: str
    window_key: str
    label: str
    plane: Plane = "axial"
    starts: bool = True  # whether the automatic start is meant for such images

    def write(self, folder: Path) -> Path:
        """A study with two series in one folder tree: the one that is meant and a short scout."""
        write_series(folder / "a", self.image, description=self.description, modality=self.modality, number=2)
        scout = Volume(self.image.array[:, :, :3], self.image.affine, self.modality)
        write_series(folder / "b", scout, description="Scout", modality=self.modality, number=1)
        return folder

    def deepest(self, mask: Mask) -> Point:
        """The voxel farthest from the edge of a mask: where somebody clicks who means all of it. RAS+ mm."""
        assert mask.any(), "nothing is left to be clicked"
        padded = np.pad(mask, 1)
        depth = ndimage.distance_transform_edt(padded, sampling=self.image.spacing)[1:-1, 1:-1, 1:-1]
        return self.world(np.unravel_index(int(np.argmax(depth)), mask.shape))

    def world(self, index: object) -> Point:
        """Of a voxel, RAS+ mm."""
        x, y, z = (float(v) for v in self.image.index_to_world(np.asarray(index)))
        return x, y, z


def sample() -> StoryCase:
    """The hippocampus that ships with the project."""
    image = read_volume(sample_path("hippocampus_right_t1.nii.gz"))
    target = read_volume(sample_path("hippocampus_right_label.nii.gz")).array > 0
    whole = Volume(np.rint(image.array).astype(np.int16), image.affine, "MR")
    return StoryCase("sample", whole, target, "MR", "T1 3D sagittal", "Alt+0", "Hippocampus", "coronal")


def spleen(data: Path) -> StoryCase:
    """An abdominal CT around the spleen."""
    folder = data / "io_cases" / "spleen_ct"
    image, target = (read_volume(folder / name) for name in ("image.nii.gz", "label.nii.gz"))
    whole = Volume(np.rint(image.array).astype(np.int16), image.affine, "CT")
    return StoryCase("spleen-ct", whole, target.array > 0, "CT", "Portal venous", "Alt+7", "Spleen", starts=False)


def sarcoma(data: Path) -> StoryCase:
    """The first sarcoma of the training part, T1-weighted MR."""
    folder = data / "sts_mr_t1"
    first = json.loads((folder / "splits.json").read_text())["train"][0]
    image, target = (read_volume(folder / part / f"{first}.nii.gz") for part in ("imagesTr", "labelsTr"))
    whole = Volume(np.rint(image.array).astype(np.int16), image.affine, "MR")
    return StoryCase("sarcoma-mr", whole, target.array > 0, "MR", "T1 axial", "Alt+0", "Tumour", starts=False)
