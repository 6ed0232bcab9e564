"""A trained model as one folder in the form of a MONAI bundle, and what runs it. Torch loads with the first network.

    bundle = load_bundle("hippocampus")        # a name, or the path of a folder
    refiner = bundle.refiner()                 # the voxel agents behind the `Refiner` seam
    percent = bundle.automatic().predict(volume)

No code and no expression of a bundle is ever run: networks are built here, by name, and filled from safetensors.
"""

from medseg_rl.bundle.layout import FORMAT_VERSION
from medseg_rl.bundle.model import Bundle, load_bundle
from medseg_rl.bundle.search import BUNDLES_VARIABLE, bundle_names, find_bundle
from medseg_rl.bundle.settings import AgentSettings, BundleCard, TrainingData
from medseg_rl.bundle.writing import save_bundle

__all__ = [
    "BUNDLES_VARIABLE",
    "FORMAT_VERSION",
    "AgentSettings",
    "Bundle",
    "BundleCard",
    "TrainingData",
    "bundle_names",
    "find_bundle",
    "load_bundle",
    "save_bundle",
]
