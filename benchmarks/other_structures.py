"""Makes a data set of structures that no model here was trained on, out of the real files for format tests.

    python -m benchmarks.other_structures SOURCE FOLDER     # SOURCE: the folder `io_cases` of the data
    python -m benchmarks.compare run --data FOLDER_ct --dataset other_ct --start B --output OUT ...    # or FOLDER_mr

A lung tumour and a spleen (CT, slices of 3 and 5 mm), grey matter of the spinal cord (MR, slices of 7.5 mm), and each
label of a brain (MR, 1 mm; most of several parts): eleven masks of four people, of whom each is one subject. All stand
under validation: the distance at which a click may begin another part was chosen on them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg_rl.errors import InputFileError


@dataclass(frozen=True)
class Source:
    """`name`: of the subject. Image and label, as paths in SOURCE; `modality` as the Decathlon writes it."""

    name: str
    image: str
    label: str
    modality: str


SOURCES = (
    Source("lung_tumour", "ibsi_lung_ct/nifti/image.nii.gz", "ibsi_lung_ct/nifti/mask.nii.gz", "CT"),
    Source("spleen", "spleen_ct/image.nii.gz", "spleen_ct/label.nii.gz", "CT"),
    Source("cord", "sct_oblique_nifti/t2s.nii.gz", "sct_oblique_nifti/t2s_gm_label.nii.gz", "MRI"),
    Source("brain", "itksnap/MRIcrop-orig.nii.gz", "itksnap/MRIcrop-seg.nii.gz", "MRI"),
)


def lay_out(source: Path, folder: Path) -> list[str]:
    """Writes the data set of each modality to `folder`_ct and `folder`_mr; returns the ids of the cases.

    Raises `InputFileError` where a file of `SOURCES` is missing.
    """
    cases = []
    for modality, ending in (("CT", "ct"), ("MRI", "mr")):
        place = folder.with_name(f"{folder.name}_{ending}")
        pairs, groups = [], {}
        for part in ("imagesTr", "labelsTr"):
            (place / part).mkdir(parents=True, exist_ok=True)
        for entry in (entry for entry in SOURCES if entry.modality == modality):
            for name in _written(source, entry, place):
                pairs.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
                groups[name] = entry.name
        described = {"modality": {"0": modality}, "labels": {"0": "background", "1": "structure"}, "training": pairs}
        (place / "dataset.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
        split = {"train": [], "val": sorted(groups), "test": [], "groups": groups}
        (place / "splits.json").write_text(json.dumps(split, indent=1), encoding="utf-8")
        cases += sorted(groups)
    return cases


def _written(source: Path, entry: Source, place: Path) -> list[str]:
    """One case for each label value, each with the image beside it."""
    for path in (source / entry.image, source / entry.label):
        if not path.is_file():
            raise InputFileError(f"{path} is missing; give the folder with the files for format tests")
    label = nib.Nifti1Image.from_filename(source / entry.label)
    values = np.asarray(label.dataobj)
    present = [int(value) for value in np.unique(values) if value]
    names = [entry.name if len(present) == 1 else f"{entry.name}_{value}" for value in present]
    for value, name in zip(present, names, strict=True):
        shutil.copyfile(source / entry.image, place / "imagesTr" / f"{name}.nii.gz")
        mask = nib.Nifti1Image((values == value).astype(np.uint8), label.affine)
        mask.to_filename(place / "labelsTr" / f"{name}.nii.gz")
    return names


def main() -> int:
    """Read the command line, write the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    try:
        print(*lay_out(options.source, options.folder), sep="\n")
    except InputFileError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
