"""What the positions of a DICOM series say of its grid: gaps, missing slices, tilt, copies, and a verdict in a colour.

A report is a value to show and to choose by; `dicom` acts on the choice, `dicom_grid` makes the new grid. Names of
files are for the screen: `files` of a gap holds them, the lines and facts do not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from medseg_rl.errors import GeometryError
from medseg_rl.imageio.dicom_checks import problem_of
from medseg_rl.imageio.dicom_series import SAME_POSITION_MM, Series
from medseg_rl.volume import FloatArray

Verdict = Literal["green", "amber", "red"]

GAP_TOLERANCE = 0.01  # of the median gap, or 0.01 mm where that is more
MISSING_FROM = 1.5  # medians
MISPLACED_FROM = 0.5  # of the median gap, or of a pixel: beyond that a slice is nearer to another one's place
TILT_DEGREES = 0.1
MOST_LISTED = 3  # gaps with their files in one message


@dataclass(frozen=True)
class Gap:
    """Between slice number `after` (from 1, in the order of positions) and the next. `missing`: slices that would fit.

    `files`: the names of the two, for the screen only.
    """

    after: int
    mm: float
    missing: int
    files: tuple[str, str]


@dataclass(frozen=True)
class GeometryReport:
    """The geometry of one series. `number`: its place in the list of its folder, from 1, to choose it by.

    `matrix`: columns, rows. `spacing`: between columns, rows and slices (the median gap along the normal), mm.
    `uneven`: gaps off the median. `displaced_mm`: how far a slice lies, at most, from its place on the regular grid
    from first to last. `tilt_degrees`: between the way from first to last and the normal, and `tilt_mm`: how far that
    is in the plane. `copies`: places where several images lie. `orientations`: groups of their own directions in the
    series. `problem`: why it cannot be opened, whatever the choice; then the numbers of the grid are None or 0.
    """

    number: int
    uid: str
    modality: str
    description: str
    kind: str
    files: int
    images: int
    matrix: tuple[int, int]
    spacing: tuple[float, float, float] | None = None
    gap_range: tuple[float, float] | None = None
    uneven: tuple[Gap, ...] = ()
    missing: int = 0
    displaced_mm: float = 0.0
    is_displaced: bool = False
    tilt_degrees: float = 0.0
    tilt_mm: float = 0.0
    copies: int = 0
    orientations: int = 1
    problem: str | None = None

    @property
    def is_tilted(self) -> bool:
        """Whether the slices move sideways: the true affine is sheared."""
        return self.tilt_degrees > TILT_DEGREES

    @property
    def is_astray(self) -> bool:
        """Whether slices lie off the regular grid by more than rounding."""
        return self.spacing is not None and self.displaced_mm > max(GAP_TOLERANCE * self.spacing[2], SAME_POSITION_MM)

    @property
    def is_broken(self) -> bool:
        """Whether no regular grid holds the slices where they are: a choice must be made."""
        return self.missing > 0 or self.is_displaced

    @property
    def verdict(self) -> Verdict:
        """Red: cannot be opened without a choice, or at all. Amber: opens, with something to know."""
        if self.problem or self.is_broken:
            return "red"
        amber = self.uneven or self.is_astray or self.is_tilted or self.copies or self.orientations > 1
        return "amber" if amber else "green"

    @property
    def lines(self) -> tuple[str, ...]:
        """What to show, the size of it first; names no file, but for the one of a `problem`."""
        if self.problem:
            return (self.problem,)
        found = [self._summary(), self._gaps_line(), self._missing_line(), self._displaced_line(), self._tilt_line()]
        if self.copies:
            found.append(f"{self.copies} places hold more than one image; this is one choice of them")
        if self.orientations > 1:
            found.append(f"the series holds slices in {self.orientations} directions; this is one of them")
        return tuple(line for line in found if line)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The lines that say more than the size of it."""
        return () if self.problem else self.lines[1:]

    def facts(self) -> dict[str, Any]:
        """Ready for JSON, without what may name a file or a patient's series: `uid`, `problem`, files of gaps."""
        known = asdict(self) | {"verdict": self.verdict, "lines": self.lines if self.problem is None else ()}
        known["uneven"] = [{"after": gap.after, "mm": gap.mm, "missing": gap.missing} for gap in self.uneven]
        kept = {name: value for name, value in known.items() if name not in ("uid", "problem")}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    def file_lines(self) -> tuple[str, ...]:
        """The two files on either side of each uneven gap, for the screen only."""
        return tuple(f"{gap.mm:.4g} mm between {gap.files[0]} and {gap.files[1]}" for gap in self.uneven)

    def _summary(self) -> str:
        assert self.spacing is not None
        gaps = "" if self.uneven else ", no gaps"
        tilt = "" if self.is_tilted else ", no tilt"
        return f"{self.images} images, {' x '.join(f'{s:.2f}' for s in self.spacing)} mm{gaps}{tilt}"

    def _gaps_line(self) -> str | None:
        if not self.uneven or self.gap_range is None or self.spacing is None:
            return None
        low, high = self.gap_range
        median = self.spacing[2]
        worst = max(self.uneven, key=lambda gap: abs(gap.mm - median))
        between = f"between slices {worst.after} and {worst.after + 1}"
        return f"gaps are uneven, {low:.4g} to {high:.4g} mm (median {median:.4g}), the worst {between}"

    def _missing_line(self) -> str | None:
        if not self.missing:
            return None
        slices = "slice seems" if self.missing == 1 else "slices seem"
        first = next(gap for gap in self.uneven if gap.missing)
        return f"{self.missing} {slices} missing, the first between slices {first.after} and {first.after + 1}"

    def _displaced_line(self) -> str | None:
        if not self.is_astray:
            return None
        return f"on one regular grid a slice lies up to {self.displaced_mm:.3g} mm from its place"

    def _tilt_line(self) -> str | None:
        if not self.is_tilted:
            return None
        return (
            f"the gantry is tilted: slices move {self.tilt_degrees:.3g} degrees off their normal,"
            f" {self.tilt_mm:.3g} mm from first to last"
        )


def report_of(series: Series, number: int) -> GeometryReport:
    """Judges a series of any kind; `number` is its place in the list."""
    first, problem = series.first, problem_of(series)
    known: dict[str, Any] = {
        "number": number,
        "uid": series.uid,
        "modality": series.modality,
        "description": series.description,
        "kind": first.kind,
        "files": series.files,
        "images": len(series.slices),
        "matrix": first.size,
        "copies": series.doubled,
        "orientations": series.orientations,
        "problem": str(problem) if problem else None,
    }
    if problem is None and (series.gaps < SAME_POSITION_MM).any():
        known["problem"] = "too many images lie at the same place, and nothing in them says which belong together"
    return GeometryReport(**known) if known["problem"] else GeometryReport(**known, **_grid_facts(series))


def refusal_of(series: Series, report: GeometryReport) -> GeometryError | None:
    """The error to raise where no choice was made, with the files of the first gaps; None when the stack is whole."""
    if not report.is_broken:
        return None
    names = "; ".join(report.file_lines()[:MOST_LISTED])
    return GeometryError(
        f"{'; '.join(report.warnings)}{f' ({names})' if names else ''}; choose"
        " --missing resample (to a regular grid), --missing keep (without quantities), or export all slices again"
    )


def _grid_facts(series: Series) -> dict[str, Any]:
    gaps, first = series.gaps, series.first
    median = float(np.median(gaps))
    off = np.abs(gaps - median) > max(GAP_TOLERANCE * median, SAME_POSITION_MM)
    uneven = tuple(
        Gap(n + 1, float(gaps[n]), _fitting(gaps[n] / median), (series.slices[n].name, series.slices[n + 1].name))
        for n in np.flatnonzero(off).tolist()
    )
    way = series.slices[-1].position - first.position
    along = float(way @ first.normal)
    across = float(np.linalg.norm(way - along * first.normal))
    tilt = float(np.degrees(np.arctan2(across, along))) if across > SAME_POSITION_MM else 0.0
    in_depth, sideways = displacements(series)
    return {
        "spacing": (*first.spacing, median),
        "gap_range": (float(gaps.min()), float(gaps.max())),
        "uneven": uneven,
        "missing": sum(gap.missing for gap in uneven),
        "displaced_mm": float(np.hypot(in_depth, sideways).max()),
        "is_displaced": bool(
            (in_depth > MISPLACED_FROM * median).any() or (sideways > MISPLACED_FROM * min(first.spacing)).any()
        ),
        "tilt_degrees": tilt if tilt > TILT_DEGREES else 0.0,
        "tilt_mm": across if tilt > TILT_DEGREES else 0.0,
    }


def displacements(series: Series) -> tuple[FloatArray, FloatArray]:
    """How far each slice lies from where the regular grid from first to last has it, mm (n): in depth, and sideways.

    Sideways is seen from the straight line through the first and last slice, at the slice's own depth.
    """
    depths = series.depths
    regular = np.linspace(0.0, depths[-1], len(depths))
    ways = np.array([s.position for s in series.slices]) - series.first.position
    line = np.outer(depths / depths[-1], ways[-1])
    return np.abs(depths - regular), np.asarray(np.linalg.norm(ways - line, axis=1), dtype=np.float64)


def _fitting(ratio: float) -> int:
    """Slices that would fit into a gap of so many medians."""
    return max(1, round(float(ratio)) - 1) if ratio >= MISSING_FROM else 0
