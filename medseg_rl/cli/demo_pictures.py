"""The two pictures of the demo: contours on three planes, and Dice against clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.volume import Index, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Mask = npt.NDArray[np.bool_]

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
REFERENCE, START, AFTER = "#f0e442", "#d55e00", "#56b4e9"  # Okabe and Ito (2008): apart for every kind of colour vision
NEAR_SLICES = 2  # clicks farther from the shown slice are left out


@dataclass(frozen=True, eq=False)
class Story:
    """What happened on one case: the image, the masks before and after, and the clicks between. Arrays (x, y, z)."""

    image: Volume
    reference: Mask
    start: Mask
    after: Mask
    clicks: tuple[Click, ...]
    dice: tuple[float, ...]  # after 0, 1, 2, ... clicks


def draw_overlay(stories: Mapping[str, Story], path: Path) -> None:
    """One row a story, three planes each, contours of start, result and reference. Axes are taken as R, A, S."""
    figure = _figure(width=10.5, height=3.5 * len(stories) + 0.5)
    panels = figure.subplots(len(stories), 3, squeeze=False)
    for row, (title, story) in zip(panels, stories.items(), strict=True):
        middle = _middle(story.reference)
        for axes, (plane, axis) in zip(row, PLANES.items(), strict=True):
            _draw_plane(axes, story, axis, middle[axis])
            axes.set_title(plane, fontsize=9)
        row[0].set_ylabel(
            f"{title}\nDice {story.dice[0]:.3f} \N{RIGHTWARDS ARROW} {story.dice[-1]:.3f}"
            f" after {len(story.clicks)} clicks",
            fontsize=9,
        )
    _add_legend(figure)
    _save(figure, path)


def draw_curve(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Dice after 0, 1, 2, ... clicks, one line an entry."""
    figure = _figure(width=6.4, height=4.2)
    axes = figure.subplots()
    for name, dice in curves.items():
        axes.plot(range(len(dice)), dice, marker="o", markersize=3, label=name)
    axes.set(xlabel="clicks", ylabel="Dice")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    _save(figure, path)


def _draw_plane(axes: Axes, story: Story, axis: int, index: int) -> None:
    spacing = np.delete(np.asarray(story.image.spacing), axis)
    shown = {"interpolation": "bilinear", "origin": "lower", "aspect": spacing[1] / spacing[0]}
    axes.imshow(np.take(story.image.array, index, axis).T, cmap="gray", **shown)
    for mask, colour, style in (
        (story.start, START, "dotted"),
        (story.reference, REFERENCE, "dashed"),
        (story.after, AFTER, "solid"),
    ):
        part = np.take(mask, index, axis).T
        if part.any() and not part.all():
            axes.contour(part, [0.5], colors=colour, linestyles=style, linewidths=1.4)
    for click in story.clicks:
        if abs(click.index[axis] - index) <= NEAR_SLICES:
            right, up = np.delete(np.asarray(click.index), axis)
            sign = "+" if click.label == ClickLabel.FOREGROUND else "_"
            axes.plot(right, up, sign, color="white", markersize=7, markeredgewidth=1.5)
    axes.set(xticks=[], yticks=[])


def _middle(reference: Mask) -> Index:
    """The slice of each axis with the largest cut through the reference."""
    cuts = [reference.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    i, j, k = (int(np.argmax(cut)) for cut in cuts)
    return i, j, k


def _add_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    white = {"color": "0.4", "linestyle": "none", "markersize": 7}
    handles = [
        Line2D([], [], color=START, linestyle="dotted", label="start"),
        Line2D([], [], color=AFTER, linestyle="solid", label="after the clicks"),
        Line2D([], [], color=REFERENCE, linestyle="dashed", label="reference, drawn by hand"),
        Line2D([], [], marker="+", label="object click", **white),  # type: ignore[arg-type]
        Line2D([], [], marker="_", label="background click", **white),  # type: ignore[arg-type]
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=9, frameon=False)


def _figure(*, width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=140, metadata={"Software": None})  # no version inside: same result, same bytes
