"""What a mask measures, formula beside number: volume, surface, diameters, intensities, and how two masks compare.

    report = quantities_of(segmentation, image=image)
    print(report.as_csv())

Reads no files and draws nothing. World is RAS+ millimetres; a number that is not defined is None and says why.
"""

from medseg_rl.quantities.compared import DEFAULT_TOLERANCE_MM, compared
from medseg_rl.quantities.diameters import AxialDiameters, Chord, axial_diameters, largest_diameter
from medseg_rl.quantities.intensity import intensities, intensity_unit
from medseg_rl.quantities.measuring import quantities_of
from medseg_rl.quantities.orthogonal import orthogonal_grid
from medseg_rl.quantities.quantity import LabelQuantities, Quantity
from medseg_rl.quantities.region import Region, region_of, regions_of
from medseg_rl.quantities.report import NOTICE, QuantityReport
from medseg_rl.quantities.shape import shape_quantities

__all__ = [
    "DEFAULT_TOLERANCE_MM",
    "NOTICE",
    "AxialDiameters",
    "Chord",
    "LabelQuantities",
    "Quantity",
    "QuantityReport",
    "Region",
    "axial_diameters",
    "compared",
    "intensities",
    "intensity_unit",
    "largest_diameter",
    "orthogonal_grid",
    "quantities_of",
    "region_of",
    "regions_of",
    "shape_quantities",
]
