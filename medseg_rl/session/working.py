"""The image and the refiner of a session, made ready when first needed, and the way from working to file order.

Working order is nearest RAS+, as networks see it, so that any axis order and flip of a file gives the same answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Grid
from medseg_rl.preprocessing import IntensityScale, intensity_scale
from medseg_rl.refiner import Percent, RefinementRequest, Refiner, never_cancelled, no_preview, reach_of, view_side
from medseg_rl.volume import AxisOrder, Box, Index, Volume


class WorkingImage:
    """The image in working order, normalised once by the statistics of its whole volume when first read.

    Normalising waits for the first read because it takes a second on a large volume; any thread may cause it.
    """

    def __init__(self, image: Volume) -> None:
        self.order = AxisOrder.of(image.affine)
        self.shape = self.order.apply(np.broadcast_to(np.int8(0), image.shape)).shape
        self.spacing = self.order.apply_spacing(image.spacing)
        self._image = image
        self._lock = threading.Lock()
        self._scale: IntensityScale | None = None

    @cached_property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        to_file = np.eye(4)
        for axis, (file_axis, flipped) in enumerate(zip(self.order.permutation, self.order.flipped, strict=True)):
            to_file[:3, axis] = 0
            to_file[file_axis, axis] = -1 if flipped else 1
            to_file[file_axis, 3] = self._image.shape[file_axis] - 1 if flipped else 0
        return Grid(self._image.affine @ to_file, self.shape)

    def intensities(self, box: Box) -> npt.NDArray[Any]:
        """Values of a box as the file has them, a view."""
        return self.order.apply(self._image.array)[box.slices]

    def read(self, box: Box) -> npt.NDArray[np.float32]:
        """Normalised values of a box, a copy in memory order. The normalised volume as a whole is never made."""
        with self._lock:
            if self._scale is None:
                self._scale = intensity_scale(self._image.array, self._image.modality)
        return np.ascontiguousarray(self._scale.apply(self.intensities(box)))


class LazyRefiner:
    """A refiner that loads the real one, from a callable, at its first refinement; loaded once, by any thread."""

    def __init__(self, source: Refiner | Callable[[], Refiner]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._in_use = threading.Lock()
        self._refiner: Refiner | None = None

    def get(self) -> Refiner:
        """The refiner, loaded now if it was not."""
        with self._lock:
            if self._refiner is None:
                source: Any = self._source
                ready = hasattr(source, "refine") and not isinstance(source, type)
                self._refiner = source if ready else source()
            return self._refiner

    @property
    def loaded(self) -> Refiner | None:
        """The refiner if it was loaded already."""
        return self._refiner

    @property
    def name(self) -> str:
        """That of the real one."""
        return self.get().name

    @property
    def view_voxels(self) -> int | None:
        """What the real one wants to be shown, see `view_side`."""
        return view_side(self.get())

    @property
    def reach_mm(self) -> float | None:
        """How far from a click the real one changes anything, see `reach_of`."""
        return reach_of(self.get())

    def describe(self) -> dict[str, Any]:
        """What identifies the real one."""
        return self.get().describe()

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """What the real one answers; one request at a time, for it may keep what it saw last."""
        refiner = self.get()
        with self._in_use:
            return refiner.refine(request, cancel=cancel, preview=preview)

    def expected_gain(self, request: RefinementRequest) -> npt.NDArray[np.float32] | None:
        """What the real one's value head says of each voxel; None where it has none."""
        foresees: Any = getattr(self.get(), "expected_gain", None)
        if foresees is None:
            return None
        with self._in_use:
            gain: npt.NDArray[np.float32] | None = foresees(request)
        return gain


def box_in_file_order(box: Box, order: AxisOrder, working_shape: Index) -> Box:
    """A box of an array in working order as the box of the same voxels in file order."""
    start, stop = [0, 0, 0], [0, 0, 0]
    for axis, (file_axis, flipped) in enumerate(zip(order.permutation, order.flipped, strict=True)):
        a, b, n = box.start[axis], box.stop[axis], working_shape[axis]
        start[file_axis], stop[file_axis] = (n - b, n - a) if flipped else (a, b)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def box_in_working_order(box: Box, order: AxisOrder, file_shape: Index) -> Box:
    """A box of the file's voxels as the box of the same voxels in working order."""
    start, stop = [0, 0, 0], [0, 0, 0]
    for axis, (file_axis, flipped) in enumerate(zip(order.permutation, order.flipped, strict=True)):
        a, b, n = box.start[file_axis], box.stop[file_axis], file_shape[file_axis]
        start[axis], stop[axis] = (n - b, n - a) if flipped else (a, b)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def index_in_file_order(index: Index, order: AxisOrder, working_shape: Index) -> Index:
    """A voxel index in working order as that of the same voxel in file order."""
    one = Box(index, (index[0] + 1, index[1] + 1, index[2] + 1))
    return box_in_file_order(one, order, working_shape).start
