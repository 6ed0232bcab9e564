"""What runs the network fastest at equal masks, and how far that is from what the machine could: benchmarks/ENGINES.md.

    python -m benchmarks.engines [--threads 2] [--rounds 9] [--output benchmarks/ENGINES.md]

Trunk and head of the default bundle's network, what a turn waits for most, on observations of first clicks and
corrections on generated cases, at the size of a view and of a closer look. Engines take turns, observation by
observation, on as many cores as they have threads. OpenVINO is measured where it is installed (`pip install openvino`)
and is no part of the program.

The limit is what a large product of two matrices reaches in the same run at the same precision and threads; the share
is that of the fastest run in it. More than all of it says that this product falls short of the machine itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medseg_rl.agent import refine
from medseg_rl.agent.learner import fast_precision, run_network
from medseg_rl.agent.networks import MASK_ODDS, START_ODDS, ActorCritic, Heads
from medseg_rl.bundle import load_bundle
from medseg_rl.evaluation.manifest import machine, source_state
from medseg_rl.hints.robots import ROBOTS
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.metrics import dice
from medseg_rl.preprocessing import coarse_level, to_level
from medseg_rl.refiner import LOWEST, RefinementRequest
from medseg_rl.synthetic import SyntheticConfig, synthetic_case

VIEW, CLOSER = 41**3, 3 * 41**3  # voxels
MATRIX = 2048
PRODUCT, EXACT = "torch bf16", "torch fp32"

Engine = Callable[[Tensor], Tensor]  # observation (1, channels, x, y, z) to log-odds (1, x, y, z)


class Seen(nn.Module):
    """Trunk and head of the belief: what the network adds to the odds that a mask and a start give by themselves."""

    def __init__(self, network: ActorCritic) -> None:
        super().__init__()
        assert network.belief_head is not None
        self.trunk, self.head = network.trunk, network.belief_head

    def forward(self, observation: Tensor) -> Tensor:
        """(1, channels, x, y, z) to (1, x, y, z)."""
        added: Tensor = self.head(self.trunk(observation[:, :-1]))[:, 0].float()
        return added


def believed(network: ActorCritic, observation: Tensor, added: Tensor) -> npt.NDArray[np.bool_]:
    """The mask that the network believes in, as `ActorCritic.heads` has it where a click is heard everywhere."""
    sign, boundary, start = (observation[:, network.channels.index(n)] for n in ("click_sign", "boundary", "start"))
    mask: npt.NDArray[np.bool_] = (sign * (MASK_ODDS * boundary + START_ODDS * start + added) > 0)[0].numpy()
    return mask


@dataclass
class Found:
    """Milliseconds and overlap with the masks of fp32, one for each observation and round."""

    milliseconds: list[float] = field(default_factory=list)
    overlap: list[float] = field(default_factory=list)


def observations(voxels: int, count: int) -> list[Tensor]:
    """What the network of the default bundle is shown, (1, channels, x, y, z) each, at most so many voxels."""
    refiner = load_bundle(None).refiner()
    shown: list[Tensor] = []

    def recorded(network: ActorCritic, observation: Tensor, **options: Any) -> tuple[Tensor | None, Heads]:
        shown.append(observation)
        return run_network(network, observation, **options)

    with patch.object(refine, "run_network", recorded):
        for request in requests(voxels, count):
            refiner.refine(request)
    return [observation.clone() for observation in shown]  # made outside of inference mode


def requests(voxels: int, count: int) -> Iterator[RefinementRequest]:
    """First clicks and corrections of shifted masks in turn, one step each, on generated cases."""
    config, number = SyntheticConfig(voxels=(72, 96), thick_share=0.0, coarse_share=0.0), 0
    while number < count:
        rng = np.random.default_rng([11, number])
        case = synthetic_case(config, rng)
        level = coarse_level(case.reference.shape, case.spacing, cap_voxels=voxels)
        assert level is not None
        image, reference = to_level(level, case.image), to_level(level, case.reference) > 0.5
        start = np.roll(reference, 3, 0) if number % 2 else np.zeros_like(reference)
        clicks = ROBOTS["primary"]().next_clicks(reference, start, (), level.spacing, 1, rng)
        percent = np.where(start, 90, LOWEST).astype(np.uint8)
        yield RefinementRequest(image, level.spacing, percent, tuple(clicks), 1, steps=1)
        number += 1


def engines(network: ActorCritic, example: Tensor, threads: int) -> dict[str, Engine]:
    """By name; the exact one first. Those of OpenVINO where it is installed."""
    seen = Seen(network).eval()
    found: dict[str, Engine] = {EXACT: partial(_torch, seen, nullcontext())}
    if fast_precision() == "bf16":
        found[PRODUCT] = partial(_torch, seen, torch.autocast("cpu", torch.bfloat16))
    try:
        import openvino  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        print("OpenVINO is not installed (pip install openvino): without it", file=sys.stderr)
        return found
    with torch.no_grad():
        core, model = openvino.Core(), openvino.convert_model(seen, example_input=example)
    for name, precision in (("OpenVINO fp32", "f32"), ("OpenVINO bf16", "bf16")):
        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        found[name] = partial(_openvino, core.compile_model(model, "CPU", options))
    return found


def _torch(seen: Seen, precision: AbstractContextManager[Any], observation: Tensor) -> Tensor:
    with torch.inference_mode(), precision:
        added: Tensor = seen(observation.contiguous(memory_format=torch.channels_last_3d))
    return added


def _openvino(compiled: Any, observation: Tensor) -> Tensor:
    return torch.from_numpy(compiled(observation.numpy())[0])


def measure(network: ActorCritic, found: dict[str, Engine], shown: list[Tensor], rounds: int) -> dict[str, Found]:
    """Each engine on each observation, in turn; the first round is not counted, it compiles and allocates."""
    results = {name: Found() for name in found}
    exact = [believed(network, observation, found[EXACT](observation)) for observation in shown]
    for number in range(rounds + 1):
        for observation, wanted in zip(shown, exact, strict=True):
            for name, engine in found.items():
                began = time.perf_counter()
                added = engine(observation)
                seconds = time.perf_counter() - began
                if number:
                    results[name].milliseconds.append(1000 * seconds)
                    results[name].overlap.append(dice(believed(network, observation, added), wanted))
    return results


def peak(precision: torch.dtype) -> float:
    """GFLOP/s of a large product of two matrices: the best of twenty."""
    a, b = (torch.randn(MATRIX, MATRIX).to(precision) for _ in range(2))
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - began)
    return 2 * MATRIX**3 / min(seconds) / 1e9


def work(network: ActorCritic, observation: Tensor) -> float:
    """GFLOP of one observation: convolutions and products of matrices."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        Seen(network)(observation)
    return int(counter.get_total_flops()) / 1e9


def table(options: argparse.Namespace) -> str:
    """Measures and writes it down, as markdown."""
    network = load_bundle(None).refiner().network
    commit, dirty = source_state()
    about = machine(options.threads)
    lines = ["# Engines", "", "Written by `python -m benchmarks.engines`; nothing is typed by hand.", ""]
    head = "| observation | engine | ms, median (range) | times as long as the product | share of the limit | overlap"
    lines += [head + " with the masks of fp32, mean (least) |", "|---|---|---|---|---|---|"]
    limits = {name: peak(torch.bfloat16 if "bf16" in name else torch.float32) for name in (EXACT, PRODUCT)}
    for title, voxels in (("a view", VIEW), ("a closer look", CLOSER)):
        shown = observations(voxels, options.observations)
        results = measure(network, engines(network, shown[0], options.threads), shown, options.rounds)
        product = float(np.median(results.get(PRODUCT, results[EXACT]).milliseconds))
        flops = float(np.mean([work(network, observation) for observation in shown]))
        for name, result in results.items():
            median = float(np.median(result.milliseconds))
            limit = limits[PRODUCT if "bf16" in name else EXACT]
            lines.append(
                f"| {title}, {np.mean([o[0, 0].numel() for o in shown]):,.0f} voxels, {flops:.1f} GFLOP | {name} "
                f"| {median:.1f} ({min(result.milliseconds):.1f} to {max(result.milliseconds):.1f}) "
                f"| {median / product:.2f} | {1000 * flops / min(result.milliseconds) / limit:.0%} "
                f"| {np.mean(result.overlap):.4f} ({min(result.overlap):.3f}) |"
            )
    reached = ", ".join(f"{name.split()[1]} {limit:,.0f} GFLOP/s" for name, limit in limits.items())
    lines += [
        "",
        f"{options.observations} observations, {options.rounds} rounds. {(__doc__ or '').split(chr(10) * 2)[-2]}",
    ]
    lines += ["", f"{(__doc__ or '').split(chr(10) * 2)[-1].strip()} Here: {reached}.", ""]
    lines += [f"Commit {commit}{' with changes' if dirty else ''}; torch {torch.__version__}; {about['cpu']},"]
    lines += [f"{options.threads} of {about['cores']} cores, {about['os']}; load average {os.getloadavg()[0]:.1f}."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Read the command line, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--observations", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("ENGINES.md"))
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # what taskset does
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: options.threads]))
    torch.set_num_threads(options.threads)
    text = table(options)
    with atomic_path(options.output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
