"""Builders of small inputs that several unit tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

DecathlonFolder = Callable[..., Path]


@pytest.fixture
def decathlon_folder(tmp_path: Path) -> DecathlonFolder:
    """Writes a data set in the layout of the Decathlon: a bright ball in noise, label 1 its lower half, 2 its upper."""

    def build(
        splits: Mapping[str, Any] | None,
        *,
        name: str = "balls",
        shape: tuple[int, int, int] = (20, 18, 16),
        groups: Mapping[str, str] | None = None,
        spacing: float = 1.0,
    ) -> Path:
        folder = tmp_path / name
        ids = [case_id for part in ("train", "val", "test") for case_id in (splits or {}).get(part, [])]
        ids = ids or [f"case_{k}" for k in range(10)]
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        for seed, case_id in enumerate(ids):
            rng = np.random.default_rng(seed)
            centre = np.asarray(shape) / 2 + rng.uniform(-2, 2, 3)
            grid = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), -1)
            ball = np.linalg.norm(grid - centre, axis=-1) < 4.5
            label = np.where(ball, np.where(grid[..., 2] < centre[2], 1, 2), 0).astype(np.uint8)
            image = (rng.normal(100, 10, shape) + 60 * ball).astype(np.float32)
            affine = np.diag([spacing, spacing, spacing, 1.0])
            nibabel.save(nibabel.Nifti1Image(image, affine), folder / "imagesTr" / f"{case_id}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(label, affine), folder / "labelsTr" / f"{case_id}.nii.gz")
        description = {
            "name": name,
            "modality": {"0": "MRI"},
            "licence": "none needed",
            "labels": {"0": "background", "1": "lower", "2": "upper"},
            "numTraining": len(ids),
            "training": [
                {"image": f"./imagesTr/{case_id}.nii.gz", "label": f"./labelsTr/{case_id}.nii.gz"} for case_id in ids
            ],
        }
        (folder / "dataset.json").write_text(json.dumps(description))
        if splits is not None:
            (folder / "splits.json").write_text(json.dumps(dict(splits)))
        if groups is not None:
            entry = {"cases": [{"id": case_id, "group": group} for case_id, group in groups.items()]}
            (tmp_path / "index.json").write_text(json.dumps({"sets": {name: entry}}))
        return folder

    return build
