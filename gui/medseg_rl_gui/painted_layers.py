"""The label arrays that the views paint: the session's own, or a copy that a brush stroke is painted into meanwhile.

A stroke is one entry of the session, written when the button is let go; until then its samples are painted here alone,
on the box of each sample. Which voxels may be painted is told by the locks, as the session will decide it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Grid, Plane, Threshold, stroke_mask
from medseg_rl.labels import BACKGROUND
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Box
from medseg_rl_gui.slice_geometry import Point

Layers = tuple[npt.NDArray[Any], ...]


class PaintedLayers:
    """The layers of one session in file order. A copy of what is labelled is made when the first stroke begins."""

    def __init__(self, session: SegmentationSession) -> None:
        self._session = session
        self._grid = Grid.of(session.image)
        self._copies: Layers | None = None
        self._filled: Box | None = None  # outside which the copies are empty
        self._shown: Box | None = None  # painted here, not in the session yet

    @property
    def layers(self) -> Layers:
        """What to paint; the same arrays until the session has other layers."""
        return self._session.label_layers if self._copies is None else self._copies

    def follow(self, box: Box | None) -> Box:
        """The session changed inside a box; anything may have changed for None. Returns what to paint again: strokes
        that were only shown so far among it.
        """
        whole, shown = Box.whole(self._session.image.shape), self._shown
        painted = whole if box is None else box if shown is None else box.union(shown)
        self._shown = None
        if self._copies is not None:
            if len(self._session.label_layers) != len(self._copies):
                self._copy()
                return whole
            self._filled = _union(self._session.labelled_box, self._filled)
            if self._filled is not None:
                self._take_over(painted.intersection(self._filled))
        return painted

    def _copy(self) -> None:
        """Of the labelled part alone: the rest of the copies is memory that was never touched."""
        self._copies = tuple(_empty_as(layer) for layer in self._session.label_layers)
        self._filled = self._session.labelled_box
        if self._filled is not None:
            self._take_over(self._filled)

    def _take_over(self, box: Box) -> None:
        for copy, layer in zip(self._copies or (), self._session.label_layers, strict=True):
            copy[box.slices] = layer[box.slices]

    def paint(
        self,
        points: list[Point],
        radius_mm: float,
        plane: Plane | None,
        *,
        erase: bool,
        threshold: Threshold | None = None,
    ) -> Box | None:
        """Shows a part of a stroke; returns the box to paint again, None where it covers nothing."""
        if self._copies is None:
            self._copy()
        box, where = stroke_mask(self._grid, points, radius_mm, plane)
        if box.voxels == 0:
            return None
        if threshold is not None:
            where = where & threshold.allows(self._session.image.array[box.slices])
        self._write(box, where, erase=erase)
        self._shown, self._filled = _union(self._shown, box), _union(self._filled, box)
        return box

    def _write(self, box: Box, where: npt.NDArray[np.bool_], *, erase: bool) -> None:
        session, copies = self._session, self._copies
        assert copies is not None
        active, table = session.active_label, session.labels
        own = copies[min(table[active].layer, len(copies) - 1)][box.slices]
        if erase:
            for copy in copies:
                part = copy[box.slices]
                part[where & (part == active)] = BACKGROUND
            return
        free = where.copy()
        for copy in copies:
            part = copy[box.slices]
            if session.overwrite == "keep":
                free &= (part == BACKGROUND) | (part == active)
            else:
                free &= ~table.locked_voxels(part, active=active)
        own[free] = active


def _empty_as(layer: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Zeros with axes in the same order in memory; unlike those of `zeros_like` not written before they are needed."""
    order = sorted(range(layer.ndim), key=lambda axis: -abs(layer.strides[axis]))
    empty = np.zeros([layer.shape[axis] for axis in order], layer.dtype)
    return empty.transpose(np.argsort(order))


def _union(one: Box | None, other: Box | None) -> Box | None:
    return one if other is None else other if one is None else one.union(other)
