"""The voxel agents as `rlhf` sees a policy: one interaction on a crop, time = refinement step, agents = voxels.

Collects rollouts and re-scores them with the very same numbers. Rewards and losses are not its business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medseg_rl.agent.networks import ActorCritic, Heads
from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.environment.episode import Episode, Scene
from medseg_rl.environment.rewards import gain_of_every_action
from medseg_rl.hints.maps import HintConfig
from medseg_rl.hints.robots import LargestRegion, robot_rng
from medseg_rl.refiner import LOWEST, MASK_THRESHOLD, NO_COMMAND
from medseg_rl.rlhf.rollout import Evaluation, Rollout
from medseg_rl.training_scenes import TrainingCase

Index = tuple[int, int, int]
BAND_MM = 3.0  # around the contour of the start and around clicks
UNSURE = (5, 95)  # hundredths
OUTSIDE = 0.1  # weight beyond the band: an unpenalised outside drifts


class VoxelPolicy:
    """`evaluate` re-scores the actions of a rollout; shared by the policy and its frozen reference."""

    def __init__(self, network: ActorCritic, policy: AdjustmentPolicy) -> None:
        self.network, self.policy = network, policy

    def heads(self, inputs: Mapping[str, Tensor]) -> list[tuple[Heads, Tensor]]:
        """Heads and log-probabilities (batch, actions, x, y, z) of each step. `inputs`: "observations" (batch, time,
        channels, x, y, z), "percent", and "command" (batch, time), one for all steps, where the network takes any.
        """
        observations, percent = inputs["observations"], inputs["percent"]
        command = inputs["command"][:, 0] if "command" in inputs else None
        features = self.network.features(observations[:, 0], command)
        found = []
        for step in range(observations.shape[1]):
            heads = self.network.heads(features, observations[:, step])
            logits = self.policy.logits(heads, percent[:, step])
            found.append((heads, functional.log_softmax(logits, 1)))
        return found

    def evaluate(self, inputs: Mapping[str, Tensor]) -> Evaluation:
        """Log-probabilities, values and entropy (batch, time, x, y, z) of the actions taken."""
        parts = []
        actions = inputs["actions"].long()
        for step, (heads, logs) in enumerate(self.heads(inputs)):
            chosen = logs.gather(1, actions[:, step, None])[:, 0]
            parts.append((chosen, heads.value, -(logs.exp() * logs).sum(1)))
        return Evaluation(*(torch.stack(part, 1) for part in zip(*parts, strict=True)))

    def consistent(self, inputs: Mapping[str, Tensor], reference: Tensor) -> Tensor:
        """-log pi of the action that moves each voxel nearest to the label, weighted mean over the mask."""
        loss = torch.zeros(())
        weights = inputs["mask"]
        for step, (_, logs) in enumerate(self.heads(inputs)):
            best = gain_of_every_action(inputs["percent"][:, step], reference, self.policy.adjustments).argmax(1)
            chosen = logs.gather(1, best[:, None])[:, 0]
            loss = loss - (chosen * weights[:, step]).sum() / weights[:, step].sum()
        return loss / inputs["percent"].shape[1]

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """All that is trained."""
        return self.network.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights."""
        return dict(self.network.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take weights."""
        return self.network.load_state_dict(state_dict)

    def eval(self) -> Self:
        """Switch dropout off."""
        self.network.eval()
        return self


def prompts_of(cases: Sequence[TrainingCase], crop: Index, hints: HintConfig) -> list[Episode]:
    """Each case cropped or padded to one shape, with the first click of the primary robot: a prompt."""
    episodes = []
    for case in (fitted(case, crop) for case in cases):
        assert case.start is not None
        reference = case.reference
        scene = Scene(case.image, reference, case.start, np.ones(crop, np.float32), case.spacing)
        episode = Episode(scene, hints=hints)
        rng = robot_rng(case.id, 0, 1)
        episode.interact(LargestRegion().next_clicks(reference, episode.mask, (), case.spacing, 1, rng))
        episodes.append(episode)
    return episodes


def fitted(case: TrainingCase, crop: Index) -> TrainingCase:
    """The case cropped or padded about its middle to one shape."""
    return TrainingCase(
        case.id,
        _fitted(case.image, crop, float(case.image.min())),
        _fitted(case.reference, crop, False),
        None if case.start is None else _fitted(case.start, crop, LOWEST),
        case.spacing,
    )


def weights_of(episode: Episode) -> Tensor:
    """1 in the band of a prompt (unsure voxels, around contour and clicks), less outside, 0 where clicked."""
    percent, spacing = episode.percent, episode.scene.spacing
    mask = episode.mask
    near = (percent > UNSURE[0]) & (percent < UNSURE[1])
    for inside in (mask, ~mask):
        if inside.any() and not inside.all():
            near |= (ndimage.distance_transform_edt(inside, sampling=spacing) <= BAND_MM) & inside
    if episode.clicks:
        elsewhere = np.ones(mask.shape, np.bool_)
        for click in episode.clicks:
            elsewhere[click.index] = False
        near |= ndimage.distance_transform_edt(elsewhere, sampling=spacing) <= BAND_MM
    weights = np.where(near, 1.0, OUTSIDE) * ~episode.fixed_voxels
    return torch.from_numpy(weights.astype(np.float32))


def rolled_out(
    actor: VoxelPolicy,
    reference: VoxelPolicy,
    prompts: Sequence[Episode],
    *,
    steps: int,
    generator: torch.Generator | None,
) -> tuple[Rollout, Tensor]:
    """Actions drawn at temperature 1, the best ones without a generator; and states (batch, time + 1, x, y, z)."""
    inputs, states = acted(actor, prompts, steps=steps, generator=generator)
    with torch.no_grad():
        now, before = actor.evaluate(inputs), reference.evaluate(inputs)
    return Rollout(inputs, now.logprobs, before.logprobs, now.values, now.entropy, inputs["mask"]), states


@torch.no_grad()
def acted(
    actor: VoxelPolicy,
    prompts: Sequence[Episode],
    *,
    steps: int,
    generator: torch.Generator | None,
    commands: Sequence[int] | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs of `VoxelPolicy.evaluate` and states of an interaction, as `rolled_out`, without scoring the actions.

    `commands`: one a prompt, none of them (NA) by default; heard by networks that take commands.
    """
    channels = actor.network.channels
    command = torch.tensor([NO_COMMAND] * len(prompts) if commands is None else list(commands))
    states = [episode.percent.copy() for episode in prompts]
    features: Tensor | None = None
    observations: list[Tensor] = []
    percents, actions = [], []
    for _ in range(steps):
        seen = torch.from_numpy(np.stack([observed(e, s, channels) for e, s in zip(prompts, states, strict=True)]))
        before = torch.from_numpy(np.stack(states))
        features = actor.network.features(seen, command) if features is None else features
        heads = actor.network.heads(features, seen)
        decision = (
            actor.policy.greedy(heads, before) if generator is None else actor.policy.sample(heads, before, generator)
        )
        fixed = np.stack([e.fixed_voxels for e in prompts])
        states = list(np.where(fixed, before.numpy(), decision.percent.numpy()))
        observations.append(seen)
        percents.append(before)
        actions.append(decision.actions.to(torch.uint8))
    mask = torch.stack([weights_of(e) for e in prompts])[:, None].expand(-1, steps, -1, -1, -1)
    inputs = {
        "observations": torch.stack(observations, 1),
        "percent": torch.stack(percents, 1),
        "actions": torch.stack(actions, 1),
        "mask": mask,
    }
    if actor.network.command is not None:
        inputs["command"] = command[:, None].expand(-1, steps)
    return inputs, torch.stack([*percents, torch.from_numpy(np.stack(states))], 1)


def masks_of(states: Tensor) -> Tensor:
    """True inside the object."""
    return states > MASK_THRESHOLD


def observed(episode: Episode, percent: np.ndarray[Any, Any], channels: Sequence[str]) -> np.ndarray[Any, Any]:
    """The observation of the prompt with another live state."""
    kept, episode.percent = episode.percent, percent
    try:
        return episode.observation(channels)
    finally:
        episode.percent = kept


def _fitted(array: np.ndarray[Any, Any], shape: Index, fill: float) -> np.ndarray[Any, Any]:
    out = np.full(shape, fill, array.dtype)
    ours, theirs = [], []
    for size, given in zip(shape, array.shape, strict=True):
        common, a, b = min(size, given), max(0, size - given) // 2, max(0, given - size) // 2
        ours.append(slice(a, a + common))
        theirs.append(slice(b, b + common))
    out[tuple(ours)] = array[tuple(theirs)]
    return out
