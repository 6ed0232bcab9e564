"""The automatic start: a small MONAI network, its training, and stored out-of-fold starts.

starts = out_of_fold_starts(dataset, AutomaticConfig(), folder)   # once, minutes
percent = load_starts(folder).percent("hippocampus_001")
percent = segmenter.predict(volume)                               # in the product
"""

from medseg_rl.automatic.learning import Progress, no_progress, prepare_samples, train_automatic, working_spacing
from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter, build_network
from medseg_rl.automatic.starts import FOLDS, Starts, fold_network, load_starts, out_of_fold_starts

__all__ = [
    "FOLDS",
    "AutomaticConfig",
    "AutomaticSegmenter",
    "Progress",
    "Starts",
    "build_network",
    "fold_network",
    "load_starts",
    "no_progress",
    "out_of_fold_starts",
    "prepare_samples",
    "train_automatic",
    "working_spacing",
]
