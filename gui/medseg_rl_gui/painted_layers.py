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
    """The layers of one session in file order. A copy is made when the first stroke begins, once a case."""

    def __init__(self, session: SegmentationSession) -> None:
        self._session = session
        self._grid = Grid.of(session.image)
        self._copies: Layers | None = None
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
            own = self._session.label_layers
            if len(own) != len(self._copies):
                self._copies = _copied(own)
                return whole
            for copy, layer in zip(self._copies, own, strict=True):
                copy[painted.slices] = layer[painted.slices]
        return painted

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
            self._copies = _copied(self._session.label_layers)
        box, where = stroke_mask(self._grid, points, radius_mm, plane)
        if box.voxels == 0:
            return None
        if threshold is not None:
            where = where & threshold.allows(self._session.image.array[box.slices])
        self._write(box, where, erase=erase)
        self._shown = box if self._shown is None else self._shown.union(box)
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


def _copied(layers: Layers) -> Layers:
    return tuple(np.array(layer, order="K") for layer in layers)
