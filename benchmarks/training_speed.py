"""How many voxel agents step in a second of training: the published kind against ours, side by side in one run.

    python benchmarks/training_speed.py [--updates 6] [--output benchmarks/TRAINING_SPEED.md]

The published kind: network `iso` (P-Net style), one sampled action a step, advantage actor-critic, float32, every voxel
of the region shown (preset `itermrl`). Ours: the product's preset, in both of its phases, and at float32 too. Both draw
the same generated cases and include all of an update: scenes, clicks, hints, rollout, losses, optimiser step. The arms
take turns, update by update, so that whatever else the machine does meets them alike.

One agent step is one voxel of the network's window through one refinement step of a rollout that is then learned from.
An agent step of ours sees more channels and learns from every action, so the rate says what an update costs and not
what it is worth.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from medseg_rl.agent.learner import Learner, Precision, fast_precision, run_network
from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import build_policy
from medseg_rl.agent.rollout import Rollout, collect_rollout
from medseg_rl.config import run_config
from medseg_rl.evaluation.manifest import machine, source_state
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.training import EpisodePool, TrainingConfig
from medseg_rl.training_scenes import TrainingCase

SHAPE = (40, 56, 40)  # of a hippocampus crop, which training draws from
SPACING = (1.0, 1.0, 1.0)
BELIEF, REWARD = 0.0, 0.9  # points of a run: ours follows its belief first, then the reward


@dataclass(frozen=True)
class Arm:
    """One way to train. `at`: the point of the run, 0..1, that decides which phase is timed."""

    name: str
    config: TrainingConfig
    precision: Precision
    at: float


@dataclass
class Times:
    """Seconds and agent steps of each timed update."""

    seconds: list[float] = field(default_factory=list)
    agent_steps: list[int] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Agent steps per second, one for each update."""
        return [steps / seconds for steps, seconds in zip(self.agent_steps, self.seconds, strict=True)]


def arms(batch: int) -> list[Arm]:
    """What is compared, all with the same batch and episodes side by side."""
    published, ours = run_config("itermrl").training, run_config("product").training
    published = replace(published, window=SHAPE, learner=replace(published.learner, relative_samples=False))
    shared = {"batch": batch, "pool": 2 * batch, "threads": 1}
    published, ours = replace(published, **shared), replace(ours, **shared)  # type: ignore[arg-type]
    three = replace(ours, steps_choices=(3,))
    fast = fast_precision()
    found = [
        Arm("published kind: iso, sampled, fp32, 1 step", published, "fp32", REWARD),
        Arm(f"ours, belief phase, {fast}, 1 step", ours, fast, BELIEF),
        Arm(f"ours, reward phase, {fast}, 3 steps", three, fast, REWARD),
    ]
    if fast != "fp32":
        found.append(Arm("ours, reward phase, fp32, 3 steps", three, "fp32", REWARD))
    return found


def generated_cases(count: int = 6) -> list[TrainingCase]:
    """Bright warped balls in noise, with a start that is displaced."""
    cases = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        grid = np.indices(SHAPE) - (np.array(SHAPE) / 2 + rng.uniform(-3, 3, 3))[:, None, None, None]
        reference = ((grid / np.array([8, 14, 8])[:, None, None, None]) ** 2).sum(0) <= 1
        image = (reference + rng.normal(0, 0.4, SHAPE)).astype(np.float32)
        start = np.where(np.roll(reference, 2, 0), 85, 8).astype(np.uint8)
        cases.append(TrainingCase(f"case{seed}", image, reference, start, SPACING))
    return cases


def prepared(arm: Arm, cases: list[TrainingCase]) -> Callable[[], Rollout]:
    """A function that does one whole update of an arm and returns its rollout."""
    torch.manual_seed(0)
    config = arm.config
    policy = build_policy(config.policy, config.adjustments)
    network = build_network(config.network, actions=policy.outputs)
    network.locality.fill_(config.locality)
    learner = Learner(network, policy, config.learner, precision=arm.precision)
    pool = EpisodePool(cases, config, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(0)

    def update() -> Rollout:
        rollout = collect_rollout(
            network,
            learner.acting(arm.at),
            pool.take(),
            clicks=pool.clicks,
            interactions=config.interactions_per_update,
            steps=1 if learner.believes(arm.at) else pool.draw_steps(),
            generator=generator,
            forward=partial(run_network, precision=arm.precision, spacing=SPACING),
            window=config.window,
            bootstrap=config.bootstrap,
        )
        learner.update(rollout, progress=arm.at, spacing=SPACING)
        return rollout

    return update


def measure(chosen: list[Arm], updates: int) -> dict[str, Times]:
    """Each arm's times; the first update of each is not counted, it compiles and allocates."""
    cases = generated_cases()
    workers = {arm.name: prepared(arm, cases) for arm in chosen}
    times = {arm.name: Times() for arm in chosen}
    for turn in range(updates + 1):
        for name, update in workers.items():
            started = time.perf_counter()
            rollout = update()
            seconds = time.perf_counter() - started
            if turn:
                times[name].seconds.append(seconds)
                times[name].agent_steps.append(sum(t.before.numel() for t in rollout.transitions))
            print(f"\r{name}: {turn} of {updates}   ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return times


def table(times: dict[str, Times], chosen: list[Arm], threads: int, updates: int) -> str:
    """Markdown: medians over updates, with the range."""
    commit, dirty = source_state()
    about = machine(threads)
    first = float(np.median(next(iter(times.values())).rates))
    lines = [
        "# Speed of training",
        "",
        "Written by `python benchmarks/training_speed.py`; nothing is typed by hand.",
        "",
    ]
    lines += ["| arm | parameters | agent steps an update | s an update | agent steps / s (range) | ratio |"]
    lines += ["|---|---|---|---|---|---|"]
    for arm in chosen:
        of_arm = times[arm.name]
        rate = float(np.median(of_arm.rates))
        outputs = build_policy(arm.config.policy, arm.config.adjustments).outputs
        size = sum(p.numel() for p in build_network(arm.config.network, actions=outputs).parameters())
        span = f"{min(of_arm.rates):,.0f} to {max(of_arm.rates):,.0f}"
        lines.append(
            f"| {arm.name} | {size:,} | {np.median(of_arm.agent_steps):,.0f} | {np.median(of_arm.seconds):.2f} "
            f"| {rate:,.0f} ({span}) | {rate / first:.1f} |"
        )
    lines += [
        "",
        f"Median of {updates} updates of {chosen[0].config.batch} episodes each, arms in turn. Generated cases of",
    ]
    lines += [f"{' x '.join(map(str, SHAPE))} voxels. {(__doc__ or '').split(chr(10) * 2)[-1].strip()}", ""]
    lines += [f"Commit {commit}{' with changes' if dirty else ''}; torch {torch.__version__}; {about['cpu']},"]
    lines += [
        f"{about['cores']} cores, {threads} thread(s) used, {about['ram_gb']} GB, {about['os']}, GPU {about['gpu']}; "
        f"load average {os.getloadavg()[0]:.1f}."
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Read the command line, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=6, help="timed updates of each arm")
    parser.add_argument("--batch", type=int, default=4, help="episodes an update")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("TRAINING_SPEED.md"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = arms(arguments.batch)
    text = table(measure(chosen, arguments.updates), chosen, arguments.threads, arguments.updates)
    with atomic_path(arguments.output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
