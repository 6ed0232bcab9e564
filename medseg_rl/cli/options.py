"""Options that several commands share, and the checks of paths that come before any work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg_rl.errors import InputFileError, OutputError

if TYPE_CHECKING:
    from medseg_rl.volume import Volume

BYTES_A_VOXEL = 28  # peak of `segment` from an automatic start, measured at 300^3: 27; from an empty one 16
MEMORY_SHARE = 0.8  # of what is free: beyond that the system begins to swap or to kill

ImageArgument = Annotated[Path, typer.Argument(help="Image file, or folder with one DICOM series.", show_default=False)]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Mask to write, such as mask.nii.gz.", show_default=False)
]
BundleOption = Annotated[
    str | None, typer.Option(help="Model: a name that `doctor` lists, or a folder. Needed where there are several.")
]
DeviceOption = Annotated[str, typer.Option(help='Where the networks run: "cpu" or "cuda".')]
LabelOption = Annotated[int, typer.Option(min=1, max=65535, help="Value of the structure in the mask.")]
TimePointOption = Annotated[int | None, typer.Option(min=0, help="Volume to take of a 4D file, from 0.")]
TransformOption = Annotated[
    Literal["sform", "qform"] | None, typer.Option(help="NIfTI transform to use where a file has two that disagree.")
]
SeriesOption = Annotated[
    str | None, typer.Option(help="Series of a DICOM folder: its number or UID, see `info`.", show_default=False)
]
MissingOption = Annotated[
    Literal["refuse", "resample", "keep"],
    typer.Option(help="Where DICOM slices are missing: refuse, resample to a regular grid, or keep (no quantities)."),
]
TiltOption = Annotated[
    Literal["keep", "resample"], typer.Option(help="A tilted gantry: keep it as shear, or resample to an upright grid.")
]
UnitsOption = Annotated[
    Literal["suv", "stored"], typer.Option(help="PET from DICOM: SUV where its tags allow, or as stored.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder of data sets; MEDSEG_RL_DATA stands for it.", show_default=False),
]
DatasetOption = Annotated[
    str, typer.Option(help="Data set: a folder in the data folder. Not needed where --data is a data set itself.")
]
ChannelOption = Annotated[
    str | None,
    typer.Option(
        help="Which image, by name or number, where a case has several (nnU-Net, BraTS, 4D).", show_default=False
    ),
]
SplitsOption = Annotated[
    Path | None,
    typer.Option(help="File of the split by subject; the folder's splits.json, or drawn.", show_default=False),
]
ChangesOption = Annotated[
    list[str] | None, typer.Option("--set", help="One setting as NAME=VALUE; repeat it.", show_default=False)
]
TargetOption = Annotated[
    str, typer.Option(help='What is to be segmented: "whole" (every label), or label values such as "1" or "1,2".')
]


def check_mask_output(output: Path, inputs: Iterable[Path]) -> None:
    """Raises OutputError when `output` cannot be written, is of no known kind, or is one of the input files."""
    from medseg_rl.imageio import check_output

    refuse_overwriting(output, inputs)
    check_output(output)


def refuse_overwriting(output: Path, inputs: Iterable[Path]) -> None:
    """Raises OutputError when `output` is one of the input files, by whatever name."""
    for given in inputs:
        with contextlib.suppress(OSError, ValueError):  # one is not there, or cannot be: whoever opens it says so
            if output.samefile(given):
                raise OutputError(f"the output {output} is the input {given}; choose another file")


def check_memory(image: Path, volume: Volume) -> None:
    """Raises InputFileError when working on `volume` would take more than `MEMORY_SHARE` of the free memory."""
    free = free_memory_gb()
    needed = BYTES_A_VOXEL * volume.array.size / 1e9
    if free is not None and needed > MEMORY_SHARE * free:
        size = " x ".join(str(n) for n in volume.shape)
        raise InputFileError(
            f"{image} has {size} voxels and needs about {needed:.1f} GB, but {free:.1f} GB are free; crop it first"
        )


def series_choice(series: str | None) -> str | int | None:
    """What `--series` means: a number of the list, or a UID."""
    return int(series) if series is not None and series.isdigit() else series


def free_memory_gb() -> float | None:
    """What this machine could give a program now; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def parse_target(text: str) -> Literal["whole"] | tuple[int, ...]:
    """ "whole", or "1,2" as label values."""
    if text == "whole":
        return "whole"
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(f'"{text}" is neither "whole" nor label values such as "1,2"') from None
