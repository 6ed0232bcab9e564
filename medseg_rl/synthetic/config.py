"""What drawn training volumes are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

REGION = "region"  # a kind of target: one or more of the surroundings' own labels


@dataclass(frozen=True)
class SyntheticConfig:
    """Ranges that cases are drawn from: lengths in mm, shares of 1.

    `modalities` and `kinds`: relative frequencies. `voxels`: along an axis that is not thick; a thick axis covers a
    like length with fewer. `thick_share` of the CT and MR cases have slices of `slice_mm`. `coarse_share` of them are
    seen at `coarsening` times the spacing, as the coarse level of a large region is. `size_mm`: the target across.
    `cnr`: its contrast to what lies next to it over the noise; `hot`: in PET, times what lies next to it. `part_share`
    of the targets are a part without contrast to the rest, `union_share` are two structures, and `twin_share` have
    others that look the same. `reader_mm`: how far a contour wanders from the edge, at most about.
    """

    modalities: tuple[tuple[str, float], ...] = (("CT", 0.42), ("MR", 0.43), ("PET", 0.15))
    kinds: tuple[tuple[str, float], ...] = (
        ("organ", 0.2),
        ("tumour", 0.18),
        ("nodule", 0.08),
        ("cluster", 0.04),
        ("chamber", 0.1),
        ("wall", 0.07),
        ("folds", 0.03),
        ("vessel", 0.1),
        ("tree", 0.08),
        (REGION, 0.12),
    )
    voxels: tuple[int, int] = (40, 64)
    least_slices: int = 10
    in_plane_mm: tuple[float, float] = (0.6, 1.5)
    slice_mm: tuple[float, float] = (2.0, 8.0)
    pet_mm: tuple[float, float] = (3.0, 5.5)
    thick_share: float = 0.5
    coarse_share: float = 0.3
    coarsening: tuple[float, float] = (1.3, 3.5)
    size_mm: tuple[float, float] = (6.0, 200.0)
    least_voxels: int = 24
    most_share: float = 0.85
    cnr: tuple[float, float] = (0.5, 10.0)
    hot: tuple[float, float] = (2.0, 15.0)
    part_share: float = 0.12
    union_share: float = 0.06
    twin_share: float = 0.25
    reader_share: float = 0.6
    reader_mm: float = 1.5
