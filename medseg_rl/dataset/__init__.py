"""A folder of labelled images as cases with a split by subject, whatever layout it is in.

Opens files through `imageio` alone, changes none, and never splits anew where a file says how. Knows no network.
"""

from medseg_rl.dataset.cases import (
    SPLITS,
    WHOLE,
    Case,
    Dataset,
    Target,
    hash_file,
    hash_lines,
    is_target,
    target_name,
)
from medseg_rl.dataset.layouts import Listing, Pair, list_pairs, looks_like_a_dataset
from medseg_rl.dataset.loading import DATA_VARIABLE, find_data_root, find_dataset, load_dataset
from medseg_rl.dataset.splits import keep_drawn_split, write_splits

__all__ = [
    "DATA_VARIABLE",
    "SPLITS",
    "WHOLE",
    "Case",
    "Dataset",
    "Listing",
    "Pair",
    "Target",
    "find_data_root",
    "find_dataset",
    "hash_file",
    "hash_lines",
    "is_target",
    "keep_drawn_split",
    "list_pairs",
    "load_dataset",
    "looks_like_a_dataset",
    "target_name",
    "write_splits",
]
