"""Graph cut: the labelling of least cost between what a voxel looks like, what was believed of it, and smooth edges.

Interactive graph cuts (Boykov and Jolly, ICCV 2001) with local intensity models estimated again after each cut
(GrabCut, Rother et al. 2004) and geodesic distances to the clicks as evidence (Price et al., CVPR 2010). The cut is our
own (`grid_cut`): every library for it is GPL or built against NumPy 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.hints.maps import HintConfig, hint_map
from medseg_rl.refiners.geodesic_distance import geodesic_distance
from medseg_rl.refiners.grid_cut import minimum_cut
from medseg_rl.refiners.seeded import SeededConfig, SeededProblem, SeededRefiner
from medseg_rl.refiners.seeds import Region, at
from medseg_rl.volume import Spacing

Costs = npt.NDArray[np.float64]

UNIT = 1000  # whole capacities in one nat
HARD = 2**28  # what no sum of edges reaches
BINS = 48
FEWEST = 30.0  # voxels that an intensity model needs to be worth half its word
FARTHEST_NATS = 4.0  # that an intensity can speak for either side
FARTHEST_MM = 300.0  # path cost beyond which nothing is near


@dataclass(frozen=True)
class GraphCutConfig(SeededConfig):
    """Weights of the parts, in nats. `prior`: of the log-odds of the state before. `intensity`: of what the two local
    histograms say. `clicks`: of the hint maps, object minus background, which fall off over `tau_mm` of path; of an
    uninformed start `geodesic` instead, of the paths from all seeds of either label. `lam`, `kappa_mm`: what a path
    costs, as in the hint maps. `smoothness`: of an edge of no contrast between neighbours; it falls with the square
    of the contrast over `contrast` root mean squares. `near_mm`: what lies nearer to a click looks like it. `rounds`:
    cuts of an uninformed start, each with the intensities of the one before. The defaults lie between what hippocampus
    validation chose from an automatic and from an empty start.
    """

    reach_mm: float = 10.0
    prior: float = 3.0
    intensity: float = 0.1
    clicks: float = 16.0
    tau_mm: float = 6.0
    geodesic: float = 4.0
    lam: float = 0.3
    kappa_mm: float = 40.0
    smoothness: float = 3.0
    contrast: float = 1.0
    near_mm: float = 2.0
    rounds: float = 3.0


class GraphCut(SeededRefiner):
    """A minimum cut over the surroundings of the new clicks."""

    name = "graph_cut"

    def __init__(self, config: GraphCutConfig | None = None) -> None:
        self.config: GraphCutConfig = config or GraphCutConfig()

    def solve(self, problem: SeededProblem) -> Region:
        """True inside the object."""
        config = self.config
        if problem.informed:
            probability = problem.percent / 100
            evidence = config.prior * np.log(probability / (1 - probability))
            evidence += config.clicks * _click_evidence(problem, config)
        else:
            evidence = config.geodesic * _path_evidence(problem, config)
        along = edge_costs(problem.image, problem.spacing, config.smoothness, config.contrast)
        inside = problem.mask
        for _ in range(1 if problem.informed else max(1, round(config.rounds))):
            looks = config.intensity * intensity_evidence(problem, inside, config.near_mm)
            terminal = np.rint(UNIT * (evidence + looks)).astype(np.int32)
            terminal[problem.foreground] = HARD
            terminal[problem.background] = -HARD
            inside, _ = minimum_cut(terminal, along)
        return inside


def edge_costs(
    image: npt.NDArray[np.float32], spacing: Spacing, smoothness: float, contrast: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """For each axis the cost of a border between a voxel and the next, (x, y, z) in thousandths of a nat.

    It grows with the area of the face between the two in mm2 (1 for a cube) and falls with their contrast; the root
    mean square of all steps of the image is the unit of it.
    """
    steps = [np.diff(image.astype(np.float64), axis=axis, append=image.take([-1], axis)) for axis in range(3)]
    mean_square = float(np.mean([np.mean(np.square(step)) for step in steps])) or 1.0
    cube = float(np.prod(spacing)) ** (1 / 3)
    x, y, z = (
        np.rint(UNIT * smoothness * cube / mm * np.exp(-np.square(step) / (2 * contrast**2 * mean_square))).astype(
            np.int32
        )
        for step, mm in zip(steps, spacing, strict=True)
    )
    return x, y, z


def intensity_evidence(problem: SeededProblem, inside: Region, near_mm: float) -> Costs:
    """Log-likelihood ratio (x, y, z) of object against background by two smoothed histograms of the part.

    Examples are what `inside` says, apart from what lies within `near_mm` of a click of the other label, and what lies
    as near to a click of their own. Without a mask the clicks alone are the object's examples. Few examples say little.
    """
    near = {label: _near(problem, label, near_mm) for label in ClickLabel}
    examples = {
        ClickLabel.FOREGROUND: inside & ~near[ClickLabel.BACKGROUND] | near[ClickLabel.FOREGROUND],
        ClickLabel.BACKGROUND: ~inside & ~near[ClickLabel.FOREGROUND] | near[ClickLabel.BACKGROUND],
    }
    if not inside.any():
        examples[ClickLabel.BACKGROUND] = problem.background
    low, high = (float(value) for value in np.percentile(problem.image, (0.5, 99.5)))
    place = np.clip((problem.image - low) / max(high - low, 1e-6) * BINS, 0, BINS - 1).astype(np.intp)
    counts = {label: np.bincount(place[where], minlength=BINS).astype(np.float64) for label, where in examples.items()}
    densities = {
        label: ndimage.gaussian_filter1d(count, 1.5, mode="nearest") / max(count.sum(), 1.0) + 1e-3
        for label, count in counts.items()
    }
    ratio = np.log(densities[ClickLabel.FOREGROUND] / densities[ClickLabel.BACKGROUND])
    word = min(count.sum() / (count.sum() + FEWEST) for count in counts.values())
    evidence: Costs = word * np.clip(ratio, -FARTHEST_NATS, FARTHEST_NATS)[place]
    return evidence


def _near(problem: SeededProblem, label: ClickLabel, near_mm: float) -> Region:
    clicked = at(problem.mask.shape, (click for click in problem.clicks if click.label == label))
    if not clicked.any():
        return clicked
    distance = ndimage.distance_transform_edt(~clicked, sampling=problem.spacing)
    nearby: Region = distance <= near_mm
    return nearby


def _click_evidence(problem: SeededProblem, config: GraphCutConfig) -> Costs:
    """Hint map of the object clicks minus that of the background clicks, -1..1."""
    hints = HintConfig(tau_mm=config.tau_mm, lam=config.lam, kappa_mm=config.kappa_mm)
    maps = [hint_map(problem.image, problem.clicks, label, problem.spacing, hints) for label in ClickLabel]
    difference: Costs = maps[ClickLabel.FOREGROUND].astype(np.float64) - maps[ClickLabel.BACKGROUND]
    return difference


def _path_evidence(problem: SeededProblem, config: GraphCutConfig) -> Costs:
    """How much shorter the path to an object seed is than that to a background seed, over their sum, -1..1."""
    to_object, to_background = (
        geodesic_distance(
            problem.image, seeds, problem.spacing, lam=config.lam, kappa_mm=config.kappa_mm, cutoff_mm=FARTHEST_MM
        ).astype(np.float64)
        for seeds in (problem.foreground, problem.background)
    )
    known_object, known_background = (np.minimum(d, FARTHEST_MM) for d in (to_object, to_background))
    shares: Costs = (known_background - known_object) / np.maximum(known_background + known_object, 1e-6)
    return shares
