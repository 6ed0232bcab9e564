"""Maximum likelihood, then the metric itself: the arms of one task with one seed, and the variance of each baseline."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from benchmarks.shape_scenes.scenes import Scenes, draw_scenes
from benchmarks.shape_scenes.tasks import Captioner, Colouriser, Detector, Task, document_counts
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.rlhf.config import Baseline, REINFORCEConfig
from medseg_rl.rlhf.task_reward import TaskRewardTrainer, advantages_over, reinforce_loss

SAVE_EVERY = 25
METRICS = {"detection": "recall - 0.3 surplus", "colouring": "colourfulness", "captions": "CIDEr-D"}
GUARDS = {
    "detection": "F1 at IoU 0.5",
    "colouring": "share of cells of the true hue",
    "captions": "share without fault",
}


@dataclass(frozen=True)
class Sizes:
    """`updates` of maximum likelihood, `tuning` updates of every arm after it, each on `batch` scenes.

    The first go from `learning_rate` down to `tuning_rate` by a cosine, all others stay there: else the control would
    gain from the smaller steps alone.
    """

    training_scenes: int = 4000
    test_scenes: int = 500
    updates: int = 6000
    tuning: int = 300
    batch: int = 32
    samples: int = 4
    learning_rate: float = 2e-3
    tuning_rate: float = 5e-4
    variance_batches: int = 30


SMOKE = Sizes(training_scenes=64, test_scenes=32, updates=4, tuning=2, batch=8, samples=2, variance_batches=2)


def scenes_of(sizes: Sizes) -> tuple[Scenes, Scenes]:
    """Training and test scenes; the same for all seeds."""
    return draw_scenes(sizes.training_scenes, seed=1), draw_scenes(sizes.test_scenes, seed=2)


def build(task: str, training: Scenes, seed: int) -> nn.Module:
    """A model with random weights."""
    torch.manual_seed(seed_of(task, seed))
    if task == "detection":
        return Detector()
    if task == "colouring":
        return Colouriser()
    return Captioner(document_counts(training), len(training))


def baseline_of(task: str) -> Baseline:
    """Captions are tuned self-critically, the others against their other samples."""
    return "greedy" if task == "captions" else "loo"


def run_task(work: Work, sizes: Sizes, task: str, seed: int) -> Result:
    """All arms: likelihood, the metric after it, likelihood continued as long, and the metric from scratch."""
    training, test = scenes_of(sizes)
    supervised = build(task, training, seed)
    name = f"{task}-{seed}"
    likelihood(work, sizes, supervised, training, name, updates=sizes.updates, first_rate=sizes.learning_rate)
    rows = {"MLE": measured(supervised, test)}
    continued = copy.deepcopy(supervised)
    likelihood(
        work, sizes, continued, training, f"{name}-continued", updates=sizes.tuning, first_rate=sizes.tuning_rate
    )
    rows["MLE continued (control)"] = measured(continued, test)
    curves = {}
    for arm, start in (
        ("MLE, then its metric", supervised),
        ("metric from scratch (control)", build(task, training, seed)),
    ):
        model = copy.deepcopy(start)
        curves[arm] = tuned(
            work, sizes, model, training, task, f"{name}-{'tuned' if start is supervised else 'scratch'}"
        )
        rows[arm] = measured(model, test)
    parameters = sum(p.numel() for p in supervised.parameters())
    variances = baseline_variances(sizes, supervised, training, seed)
    return {
        "task": task,
        "seed": seed,
        "rows": rows,
        "curves": curves,
        "parameters": parameters,
        "variances": variances,
    }


def likelihood(
    work: Work, sizes: Sizes, model: nn.Module, training: Scenes, name: str, *, updates: int, first_rate: float
) -> None:
    """Adam on batches drawn anew, the rate by a cosine from `first_rate` to the tuning rate; resumes."""
    optimiser = torch.optim.Adam(model.parameters(), lr=first_rate)
    generator, checkpoint, begun = torch.Generator().manual_seed(seed_of(name)), work.checkpoint(name), 0
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
        begun = state["begun"]
    for number in range(begun, updates):
        rows = torch.randint(len(training), (sizes.batch,), generator=generator)
        loss = cast("Task", model).likelihood_loss(training.rows(rows))
        optimiser.param_groups[0]["lr"] = _cosine(first_rate, sizes.tuning_rate, number / updates)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        _keep(work, name, number, updates, {"model": model, "optimiser": optimiser}, generator, {})


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def tuned(work: Work, sizes: Sizes, model: nn.Module, training: Scenes, task: str, name: str) -> list[dict[str, float]]:
    """REINFORCE on the task's metric; the metrics of every update."""
    learner = cast("Any", model)
    config = REINFORCEConfig(baseline=baseline_of(task), num_samples=sizes.samples, learning_rate=sizes.tuning_rate)
    trainer = TaskRewardTrainer(learner, learner.reward, config, seed=seed_of(name))
    generator, checkpoint = torch.Generator().manual_seed(seed_of(name, "batches")), work.checkpoint(name)
    history: list[dict[str, float]] = []
    if state := checkpoint.load():
        model.load_state_dict(state["model"])
        trainer.load_state_dict(state["trainer"])
        generator.set_state(state["generator"])
        history = state["history"]
    for number in range(len(history), sizes.tuning):
        rows = torch.randint(len(training), (sizes.batch,), generator=generator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an untrained captioner beats its own greedy answer at once
            history.append(trainer.step(training.rows(rows)))
        _keep(work, name, number, sizes.tuning, {"model": model, "trainer": trainer}, generator, {"history": history})
    return history


def measured(model: nn.Module, test: Scenes) -> dict[str, float]:
    """Metric and guard of the greedy answers to all test scenes."""
    model.eval()
    task = cast("Task", model)
    with torch.no_grad():
        parts = [test.rows(rows) for rows in torch.arange(len(test)).split(100)]
        answers = [task.greedy(part) for part in parts]
        metric = torch.cat([task.reward(part, answer) for part, answer in zip(parts, answers, strict=True)])
        guard = torch.cat([task.guard(part, answer) for part, answer in zip(parts, answers, strict=True)])
    return {"metric": float(metric.mean()), "guard": float(guard.mean())}


def baseline_variances(sizes: Sizes, model: nn.Module, training: Scenes, seed: int) -> dict[str, float]:
    """Summed variance over batches of the gradient of one update, for each baseline, in units of that without one."""
    learner = cast("Any", model)
    generator = torch.Generator().manual_seed(seed_of("variance", seed))
    sums: dict[str, list[torch.Tensor]] = {name: [] for name in ("none", "sample", "greedy", "loo")}
    scenes = training.rows(torch.arange(sizes.batch))
    for _ in range(sizes.variance_batches):
        with torch.no_grad():
            answers = [learner.draw(scenes, generator) for _ in range(2)]
            rewards = torch.stack([learner.reward(scenes, answer) for answer in answers])
            greedy = learner.reward(scenes, learner.greedy(scenes))
        logged = torch.stack([learner.logprobs(scenes, answer) for answer in answers])
        for name, found in sums.items():
            advantages = advantages_over(rewards, baseline=cast("Baseline", name), greedy=greedy)
            loss = reinforce_loss(logged, advantages)
            gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            found.append(torch.cat([g.flatten() for g in gradients]))
    variances = {name: float(torch.stack(found).var(0).sum()) for name, found in sums.items()}
    return {name: value / variances["none"] for name, value in variances.items()}


def _keep(
    work: Work,
    name: str,
    number: int,
    total: int,
    parts: Mapping[str, Any],
    generator: torch.Generator,
    more: Mapping[str, Any],
) -> None:
    work.report(name, number + 1, total)
    if number % SAVE_EVERY == SAVE_EVERY - 1 or number == total - 1 or work.cancel():
        states = {key: part.state_dict() for key, part in parts.items()}
        work.checkpoint(name).save({**states, "generator": generator.get_state(), "begun": number + 1, **more})
        work.stop_if_cancelled()
