"""Two masks of one grid compared: overlap, volumes, surface distances. A is the mask, B the reference."""

from __future__ import annotations

import numpy as np

from medseg_rl.metrics import SurfaceDistances, surface_distances
from medseg_rl.quantities.orthogonal import orthogonal_grid
from medseg_rl.quantities.quantity import Quantity
from medseg_rl.quantities.region import Region
from medseg_rl.volume import Box, Volume

DEFAULT_TOLERANCE_MM = 2.0
BOTH_EMPTY = "both empty"
DICE = "2 |A and B| / (|A| + |B|), A this mask, B the reference"
DIFFERENCE = "V_A - V_B"
PERCENT = "100 (V_A - V_B) / V_B"
HD95 = "larger of the two directed 95th percentiles of surface voxel distances"
ASSD = "all surface voxel distances of both directions, summed, over their number"
NSD = "surface voxels of A and of B within {tolerance:g} mm of the other surface, over all surface voxels"
RESAMPLED = "sheared grid: distances after nearest-neighbour resampling to an orthogonal grid"


def compared(region: Region, reference: Region, *, tolerance_mm: float = DEFAULT_TOLERANCE_MM) -> tuple[Quantity, ...]:
    """Dice, volume difference in mL and percent, HD95, ASSD and NSD. Both regions lie on one grid.

    Both empty: no number at all, and each says so. One empty: Dice and NSD are 0, distances are not defined.
    """
    sizes, mm3 = (region.voxels, reference.voxels), float(abs(np.linalg.det(region.affine[:3, :3])))
    nothing = BOTH_EMPTY if sizes == (0, 0) else ""
    alone = nothing or ("this mask is empty" if not sizes[0] else "the reference is empty" if not sizes[1] else "")
    difference = (sizes[0] - sizes[1]) * mm3
    overlap = None if nothing else 2 * _shared(region, reference) / sum(sizes)
    percent = 100 * (sizes[0] - sizes[1]) / sizes[1] if sizes[1] else None
    return (
        Quantity("dice", "Dice", overlap, "", DICE, nothing),
        Quantity("volume_difference_ml", "volume difference", difference / 1000, "mL", DIFFERENCE, nothing),
        Quantity("volume_difference_percent", "volume difference", percent, "%", PERCENT, alone),
        *_distances(region, reference, alone, tolerance_mm),
    )


def _distances(region: Region, reference: Region, alone: str, tolerance_mm: float) -> tuple[Quantity, ...]:
    distances, note = (None, alone) if alone else _surface_distances(region, reference)
    apart = 0.0 if alone and alone != BOTH_EMPTY else None
    near = distances.nsd(tolerance_mm) if distances else apart
    return (
        Quantity("hd95", "HD95", distances.hd95 if distances else None, "mm", HD95, note),
        Quantity("assd", "ASSD", distances.assd if distances else None, "mm", ASSD, note),
        Quantity("nsd", f"NSD at {tolerance_mm:g} mm", near, "", NSD.format(tolerance=tolerance_mm), note),
    )


def _shared(region: Region, reference: Region) -> int:
    if region.box is None or reference.box is None:
        return 0
    box = region.box.union(reference.box)
    return int(np.count_nonzero(region.within(box) & reference.within(box)))


def _surface_distances(region: Region, reference: Region) -> tuple[SurfaceDistances, str]:
    """The distances, and a note where the grid had to be changed for them."""
    assert region.box is not None  # the caller knows that neither is empty
    assert reference.box is not None
    box = region.box.union(reference.box)
    masks = [Volume(part.within(box), _affine_of(region, box)) for part in (region, reference)]
    if not masks[0].is_sheared:
        return surface_distances(masks[0].array, masks[1].array, masks[0].spacing), ""
    grid = orthogonal_grid(masks[0])
    own, other = (mask.sampled_on(grid).array for mask in masks)
    return surface_distances(own, other, grid.spacing), RESAMPLED


def _affine_of(region: Region, box: Box) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    affine = region.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ box.start
    return affine
