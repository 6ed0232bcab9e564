"""Orders to the voxel agents: a state, a command, and what it asks for; and demonstrations that carry orders out.

Every episode weighs alike in a likelihood, and in each what changes, what lies near a surface and the rest weigh
alike, since an island is thirty voxels of thirty thousand. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medseg_rl.agent.policy import AdjustmentPolicy
from medseg_rl.environment.actions import apply_adjustments
from medseg_rl.environment.episode import Episode, Scene
from medseg_rl.environment.rewards import gain_of_every_action
from medseg_rl.hints.maps import HintConfig
from medseg_rl.hints.robots import LargestRegion, robot_rng
from medseg_rl.recipes.refinement.intents import ASKED, Mask, clean, damaged, soft_state, target_of
from medseg_rl.recipes.refinement.voxel_policy import BAND_MM, VoxelPolicy, observed
from medseg_rl.refiner import COMMANDS
from medseg_rl.rlhf.grounded import COMMAND, Examples
from medseg_rl.rlhf.rollout import masked_mean
from medseg_rl.training_scenes import TrainingCase

BELIEF = "belief"  # the key of the inputs that holds it
WEIGHT = 30.0  # of an episode: small enough that no voxel of an island weighs more than one
FITTING = 0.5  # share of drawn orders that are the remedy of the damage; the others are drawn whatever is wrong


@dataclass(frozen=True, eq=False)
class Order:
    """`episode`: its state before, without a new click. `command`: of `ASKED`. `target`: what it asks for. `remedy`:
    the command that the mask was in the want of.
    """

    episode: Episode
    command: str
    target: Mask
    remedy: str


def order_of(
    case: TrainingCase, remedy: str, command: str, rng: np.random.Generator, hints: HintConfig, *, clicked: bool
) -> Order:
    """The case in the want of `remedy`, given `command`. `clicked`: it had a click into the object before."""
    wanted = clean(case.reference, case.spacing)
    mask = damaged(wanted, case.spacing, remedy, rng)
    start = soft_state(mask, case.spacing, rng)
    scene = Scene(case.image, wanted, start, np.ones(mask.shape, np.float32), case.spacing)
    episode = Episode(scene, hints=hints)
    if clicked:
        nothing = np.zeros_like(mask)
        deep = LargestRegion().next_clicks(mask, nothing, (), case.spacing, 1, robot_rng(case.id, 0, 1))
        episode.interact(deep)
    episode.interact(())
    return Order(episode, command, target_of(command, episode.mask, case.spacing), remedy)


def drawn_orders(cases: Sequence[TrainingCase], count: int, seed: int, hints: HintConfig) -> list[Order]:
    """As many of each command; half of them fit what is wrong, the others mostly have a false premise or do harm."""
    rng = np.random.default_rng(seed)
    orders = []
    for number in range(count):
        command = ASKED[number % len(ASKED)]
        remedy = command if rng.random() < FITTING else ASKED[int(rng.integers(len(ASKED)))]
        case = cases[int(rng.integers(len(cases)))]
        orders.append(order_of(case, remedy, command, rng, hints, clicked=bool(rng.random() < 0.5)))
    return orders


@torch.no_grad()
def demonstrated(orders: Sequence[Order], policy: AdjustmentPolicy, channels: Sequence[str], *, steps: int) -> Examples:
    """The orders carried out: each voxel takes the adjustment that moves it nearest to the target."""
    target = torch.from_numpy(np.stack([order.target for order in orders]))
    fixed = torch.from_numpy(np.stack([order.episode.fixed_voxels for order in orders]))
    states = torch.from_numpy(np.stack([order.episode.percent for order in orders]))
    seen, percents, actions = [], [], []
    for _ in range(steps):
        seen.append(
            torch.from_numpy(
                np.stack([observed(o.episode, s.numpy(), channels) for o, s in zip(orders, states, strict=True)])
            )
        )
        best = gain_of_every_action(states, target, policy.adjustments).argmax(1)
        percents.append(states)
        actions.append(best.to(torch.uint8))
        states = torch.where(fixed, states, apply_adjustments(states, best, policy.adjustments))
    numbers = torch.tensor([COMMANDS.index(order.command) for order in orders])
    mask = torch.stack([_weights(order) for order in orders])[:, None].expand(-1, steps, -1, -1, -1)
    inputs = {"observations": torch.stack(seen, 1), "percent": torch.stack(percents, 1)}
    inputs |= {"actions": torch.stack(actions, 1), COMMAND: numbers[:, None].expand(-1, steps)}
    inputs[BELIEF] = target[:, None].float()
    return Examples(inputs, mask)


def belief_loss(actor: VoxelPolicy, examples: Examples) -> Tensor:
    """Cross-entropy of the belief at the first step, nats: where the belief is sure and wrong, the likelihood of
    actions has no gradient left. 0 without a belief.
    """
    command = examples.inputs[COMMAND][:, 0]
    seen = examples.inputs["observations"][:, 0]
    belief = actor.network.heads(actor.network.features(seen, command), seen).belief
    if belief is None:
        return torch.zeros(())
    loss = functional.binary_cross_entropy_with_logits(belief, examples.inputs[BELIEF][:, 0], reduction="none")
    return masked_mean(loss, examples.mask[:, 0])


def evenly(mask: Tensor) -> Tensor:
    """Weights (batch, time, x, y, z) with the sum `WEIGHT` at each step of each episode, 1 at most."""
    total = mask.flatten(2).sum(2).clamp_min(1.0)
    return (mask * (WEIGHT / total)[:, :, None, None, None]).clamp(max=1.0)


def _weights(order: Order) -> Tensor:
    mask, spacing = order.episode.mask, order.episode.scene.spacing
    free = ~order.episode.fixed_voxels
    changed = (mask != order.target) & free
    near = np.zeros_like(mask)
    for inside in (mask, ~mask):
        if inside.any() and not inside.all():
            near |= (ndimage.distance_transform_edt(inside, sampling=spacing) <= BAND_MM) & inside
    parts = [part for part in (changed, near & ~changed & free, ~near & ~changed & free) if part.any()]
    weights = sum(part * np.float32(min(1.0, WEIGHT / len(parts) / part.sum())) for part in parts)
    return torch.from_numpy(np.asarray(weights, np.float32))
