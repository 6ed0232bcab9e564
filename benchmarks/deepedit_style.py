"""A comparator in the style of DeepEdit: image and clicks as Gaussians on a fixed grid, no previous mask.

    python -m benchmarks.deepedit_style --starts STARTS --output RUN [--dataset hippocampus] [--updates 4000]

The same training volumes, augmentation, simulated user, number of updates and samples as the agents; part of the
samples have no click, so that the network segments by itself too. The same command goes on where a run was stopped.
Evaluate it as `deepedit_style=python:benchmarks.deepedit_style:refiner:RUN`. Our own implementation of the published
idea (Diaz-Pinto et al. 2022) on MONAI's DynUNet, not the published code or weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg_rl.agent.learner import fast_precision
from medseg_rl.agent.ranks import Ranks
from medseg_rl.automatic.segmenter import hash_weights
from medseg_rl.automatic.starts import load_starts
from medseg_rl.dataset import Dataset, find_dataset, load_dataset
from medseg_rl.environment.episode import Scene
from medseg_rl.errors import BundleError, Cancelled, MedSegError
from medseg_rl.evaluation import Plan, empty_start_side_mm, load_evaluation_cases, validation_curve
from medseg_rl.hints.clicks import Click, ClickLabel, clicks_inside
from medseg_rl.hints.robots import training_clicks
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.interaction.region import common_region
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent, RefinementRequest, never_cancelled, no_preview
from medseg_rl.refiners.holding import hold
from medseg_rl.training import TrainingConfig
from medseg_rl.training_cases import load_training_cases
from medseg_rl.training_checkpoint import Run, load_checkpoint, save_checkpoint
from medseg_rl.training_scenes import SceneConfig, TrainingCase, draw_scene
from medseg_rl.volume import Box

Index = tuple[int, int, int]
SETTINGS, WEIGHTS = "deepedit_style.json", "deepedit_style.safetensors"
SIGMA = 2.0  # of a click, in voxels of the grid
WHOLE_SHARE = 1 / 3  # of the samples show the whole volume; the others the regions of the evaluation


@dataclass(frozen=True)
class DeepEditConfig:
    """`grid`: voxels that any region is resized to; each a multiple of 2^(levels - 1). `features`: filters of a level.

    `automatic_share` of the episodes begin without a click. An episode ends after 1..`max_interactions`, more often
    early; `batch` of the `pool` that live side by side advance by one interaction an update, as the agents' do.
    """

    grid: Index = (32, 48, 32)
    features: tuple[int, ...] = (16, 32, 64)
    automatic_share: float = 0.25
    max_interactions: int = 20
    updates: int = 4000
    batch: int = 16
    pool: int = 48
    generation: int = 50
    validate_every: int = 400
    validation_cases: int = 12
    learning_rate: float = 1e-3
    averaging: float = 0.99
    seed: int = 0
    threads: int = 1


def build_network(config: DeepEditConfig) -> nn.Module:
    """MONAI's DynUNet: image, object clicks and background clicks in, one logit out."""
    from monai.networks.nets.dynunet import DynUNet

    levels = len(config.features)
    return DynUNet(
        spatial_dims=3,
        in_channels=3,
        out_channels=1,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=list(config.features),
        norm_name=("instance", {"affine": True}),
    )


class Weights:
    """The parameters of a network, each once: DynUNet reaches its modules by two names, and has no buffers."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def state_dict(self) -> dict[str, Tensor]:
        """By the first of its names."""
        return {name: value.detach() for name, value in self._network.named_parameters()}

    def load_state_dict(self, values: dict[str, Tensor]) -> None:
        """`state_dict` back. Raises KeyError or RuntimeError where they are another network's."""
        with torch.no_grad():
            for name, own in self._network.named_parameters():
                own.copy_(values[name])


def grid_input(image: npt.NDArray[np.float32], clicks: Sequence[Click], grid: Index) -> Tensor:
    """(3, x, y, z) of the grid: the image, and for each label the largest Gaussian of its clicks."""
    seen = torch.zeros((3, *grid))
    seen[0] = functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(image))[None, None], grid, mode="trilinear", align_corners=False
    )[0, 0]
    for click in clicks:
        place = [(i + 0.5) * n / size - 0.5 for i, n, size in zip(click.index, grid, image.shape, strict=True)]
        x, y, z = (torch.exp(-((torch.arange(n) - p) ** 2) / (2 * SIGMA**2)) for n, p in zip(grid, place, strict=True))
        channel = 1 if click.label == ClickLabel.FOREGROUND else 2
        seen[channel] = torch.maximum(seen[channel], x[:, None, None] * y[None, :, None] * z[None, None, :])
    return seen


def probabilities(network: nn.Module, batch: Tensor) -> Tensor:
    """Logits (batch, x, y, z) in float32, computed in the precision that is fast here."""
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_precision() == "bf16"):
        said: Tensor = network(batch.contiguous(memory_format=torch.channels_last_3d))
    return said[:, 0].float()


def at_size(logits: Tensor, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """Probability (x, y, z) at the voxels of the region, from logits (x, y, z) of the grid."""
    back = functional.interpolate(logits[None, None], tuple(shape), mode="trilinear", align_corners=False)[0, 0]
    probability: npt.NDArray[np.float32] = torch.sigmoid(back).numpy()
    return probability


class DeepEditStyle:
    """Decides the whole region again at every click; of the state before it keeps held voxels alone."""

    name = "deepedit_style"

    def __init__(self, network: nn.Module, config: DeepEditConfig) -> None:
        self._network, self._config = network.eval(), config

    def describe(self) -> dict[str, Any]:
        """Settings and hash of the weights."""
        return {"kind": self.name, **asdict(self._config), "weights_hash": hash_weights(self._network)}

    @torch.inference_mode()
    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """New state of the region; see `medseg_rl.refiner.Refiner`."""
        if cancel():
            raise Cancelled("refinement was stopped; the mask is as before")
        seen = grid_input(request.image, request.clicks, self._config.grid)
        probability = at_size(probabilities(self._network, seen[None])[0], request.image.shape)
        percent = hold(np.clip(np.rint(100 * probability), LOWEST, HIGHEST).astype(np.uint8), request)
        preview(percent)
        return percent


def refiner(folder: str) -> DeepEditStyle:
    """The finished network of a run folder. Raises `BundleError` where there is none."""
    from safetensors.torch import load_file

    try:
        values: dict[str, Any] = json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8"))
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        config = DeepEditConfig(**given)
        network = build_network(config)
        Weights(network).load_state_dict(load_file(Path(folder) / WEIGHTS))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise BundleError(f"{folder} holds no finished run of benchmarks.deepedit_style ({error})") from None
    return DeepEditStyle(network, config)


class Episodes:
    """Regions at every stage of their click budget, and the simulated user who clicks in them."""

    def __init__(
        self, cases: Sequence[TrainingCase], config: DeepEditConfig, side_mm: float, rng: np.random.Generator
    ) -> None:
        self._cases, self._config, self._side_mm, self._rng = cases, config, side_mm, rng
        self._scenes = SceneConfig(crop_voxels=(10**6,) * 3)
        self._user = TrainingConfig()
        self.scenes = [self._fresh() for _ in range(config.pool)]

    def take(self) -> list[Region]:
        """`batch` different ones, each after its next clicks; those at the end of their budget are replaced first."""
        chosen = self._rng.choice(len(self.scenes), self._config.batch, replace=False)
        for place in chosen:
            if self.scenes[place].left <= 0:
                self.scenes[place] = self._fresh()
        for place in chosen:
            self.scenes[place].click(self._user, self._rng)
        return [self.scenes[place] for place in chosen]

    def _fresh(self) -> Region:
        scene, config, rng = draw_scene(self._cases, self._scenes, self._rng), self._config, self._rng
        box = Box.whole(scene.image.shape)
        if rng.random() >= WHOLE_SHARE:
            start = Box.around_mask(scene.start > MASK_THRESHOLD)
            inside = np.argwhere(scene.reference)
            place = inside[int(rng.integers(len(inside)))] if len(inside) else np.asarray(box.shape) // 2
            first = Click((int(place[0]), int(place[1]), int(place[2])), ClickLabel.FOREGROUND)
            box = common_region(start, [] if start else [first], scene.spacing, box.shape, self._side_mm)
        budget = 1 + int(config.max_interactions * rng.random() ** 2)
        return Region(scene, box, budget, by_itself=bool(rng.random() < config.automatic_share))


class Region:
    """One region being clicked: what the network sees of it, what it should say, and what it said last."""

    def __init__(self, scene: Scene, box: Box, left: int, *, by_itself: bool) -> None:
        self.image = np.ascontiguousarray(scene.image[box.slices])
        self.reference = np.ascontiguousarray(scene.reference[box.slices])
        self.mask = scene.start[box.slices] > MASK_THRESHOLD
        self.spacing, self.left, self.by_itself = scene.spacing, left, by_itself
        self.clicks: tuple[Click, ...] = ()

    def click(self, user: TrainingConfig, rng: np.random.Generator) -> None:
        """The user's next clicks, where the last prediction errs; none where the network is to begin by itself."""
        self.left -= 1
        if self.by_itself:
            self.by_itself = False
            return
        one = rng.random() < user.one_click_share
        count = 1 if one else int(rng.integers(user.min_clicks, user.max_clicks + 1))
        new = training_clicks(self.reference, self.mask, self.clicks, self.spacing, count, rng)
        self.clicks += tuple(clicks_inside(new, Box.whole(self.mask.shape)))

    def answered(self, logits: Tensor) -> None:
        """Takes over what the network says, clicked voxels as clicked."""
        self.mask = at_size(logits, self.mask.shape) > 0.5
        for click in self.clicks:
            self.mask[click.index] = bool(click.label)


def train(dataset: Dataset, config: DeepEditConfig, starts: Path, folder: Path) -> None:
    """Trains in `folder`, or goes on there, and writes the network of the best validation (start A, primary robot)."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    found = load_starts(starts)
    cases = load_training_cases(dataset, "train", starts=found)
    side_mm = empty_start_side_mm(dataset, "whole")
    judged = load_evaluation_cases(dataset, "val", starts=found, limit=config.validation_cases)
    network = build_network(config)
    average = build_network(config)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate)
    kept = {"network": Weights(network), "average": Weights(average)}
    learner = cast(Any, SimpleNamespace(**kept, optimiser=optimiser, credit=None, ranks=Ranks()))
    run: Run = load_checkpoint(folder, learner, config)
    while run.update < config.updates:
        episodes = Episodes(cases, config, side_mm, np.random.default_rng([config.seed, run.update]))
        update = run.update
        for update in range(run.update, min(run.update + config.generation, config.updates)):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * (1 - update / config.updates) ** 0.9
            loss = _update(network, optimiser, episodes.take(), config)
            _follow(average, network, min(config.averaging, update / (10 + update)))
        run = run.advanced(update + 1)
        if run.update % config.validate_every < config.generation or run.update == config.updates:
            figures = validation_curve(judged, DeepEditStyle(average, config), plan=Plan(empty_start_side_mm=side_mm))
            run = run.judged(figures, cast(Any, kept["average"]))
            print(f"update {run.update}: AUC20 {figures['auc']:.4f}", flush=True)
        print(f"update {run.update} of {config.updates}, loss {loss:.4f}", flush=True)
        save_checkpoint(folder, run, learner, config)
    _write(folder, run.best_weights or kept["average"].state_dict(), config)


def _update(
    network: nn.Module, optimiser: torch.optim.Optimizer, regions: Sequence[Region], config: DeepEditConfig
) -> float:
    network.train()
    batch = torch.stack([grid_input(region.image, region.clicks, config.grid) for region in regions])
    wanted = torch.stack(
        [
            functional.interpolate(
                torch.from_numpy(region.reference)[None, None].float(), config.grid, mode="trilinear"
            )[0, 0]
            for region in regions
        ]
    )
    logits = probabilities(network, batch)
    said = torch.sigmoid(logits)
    overlap = 2 * (said * wanted).sum((1, 2, 3)) + 1
    dice = overlap / (said.sum((1, 2, 3)) + wanted.sum((1, 2, 3)) + 1)
    loss = functional.binary_cross_entropy_with_logits(logits, wanted) + (1 - dice).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    for region, own in zip(regions, logits.detach(), strict=True):
        region.answered(own)
    return float(loss.detach())


def _follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for mean, trained in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(trained, 1 - keep)


def _write(folder: Path, weights: dict[str, Tensor], config: DeepEditConfig) -> None:
    from safetensors.torch import save_file

    with atomic_path(folder / WEIGHTS) as path:
        save_file({name: value.contiguous().clone() for name, value in weights.items()}, path)
    with atomic_path(folder / SETTINGS) as path:
        path.write_text(json.dumps(asdict(config), indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Read the options and train."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deepedit_style",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", "-o", type=Path, required=True, help="run folder")
    parser.add_argument("--starts", type=Path, required=True, help="folder of the automatic starts, out of fold")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--dataset", default="hippocampus")
    parser.add_argument("--grid", type=int, nargs=3, default=DeepEditConfig.grid)
    plain = ("updates", "batch", "pool", "generation", "validate_every", "validation_cases", "seed", "threads")
    for name in plain:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(DeepEditConfig, name))
    given = parser.parse_args()
    config = DeepEditConfig(grid=tuple(given.grid), **{name: getattr(given, name) for name in plain})
    try:
        given.output.mkdir(parents=True, exist_ok=True)
        train(load_dataset(find_dataset(given.data, given.dataset)), config, given.starts, given.output)
    except MedSegError as error:
        print(f"deepedit_style: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
