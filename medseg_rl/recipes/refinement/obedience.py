"""How well agents obey: every damaged mask of a case under every command, compared with what the command asks for.

One set of runs gives all tables: a commander is a choice among them. Trains nothing and draws nothing but the damages,
which are the same for all agents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medseg_rl.hints.maps import HintConfig
from medseg_rl.recipes.recipe import Result, seed_of
from medseg_rl.recipes.refinement.intents import ASKED, most_harmful, overlap, target_of
from medseg_rl.recipes.refinement.orders import order_of
from medseg_rl.recipes.refinement.voxel_policy import VoxelPolicy, acted, masks_of, prompts_of
from medseg_rl.refiner import COMMANDS, NO_COMMAND
from medseg_rl.rlhf.intervals import Proportion, wilson
from medseg_rl.training_scenes import TrainingCase

HALF = 0.5  # of what the exact remedy would bring: that much is a win
COMMANDERS = ("Oracle", "NA", "Random", "Adversarial")
GROWING = {"grow": 1, "fill_holes": 1, "shrink": -1, "remove_islands": -1}  # what happens to the volume


def obeyed(actor: VoxelPolicy, case: TrainingCase, number: int, *, steps: int, hints: HintConfig) -> Result:
    """All runs of one case: a list over damages, and the Dice after the robot's first click without a command."""
    return {
        "masks": [_mask(actor, case, remedy, clicked=bool(number % 2), steps=steps, hints=hints) for remedy in ASKED],
        "clicked": _after_a_click(actor, case, steps=steps, hints=hints),
    }


def _mask(
    actor: VoxelPolicy, case: TrainingCase, remedy: str, *, clicked: bool, steps: int, hints: HintConfig
) -> Result:
    rng = np.random.default_rng(seed_of("judged", case.id, remedy))
    order = order_of(case, remedy, remedy, rng, hints, clicked=clicked)
    wanted, before, spacing = order.episode.scene.reference, order.episode.mask, case.spacing
    numbers = [NO_COMMAND, *(COMMANDS.index(command) for command in ASKED)]
    _, states = acted(actor, [order.episode] * len(numbers), steps=steps, generator=None, commands=numbers)
    after = dict(zip(("na", *ASKED), masks_of(states[:, -1]).numpy(), strict=True))
    targets = {command: target_of(command, before, spacing) for command in ASKED}
    return {
        "remedy": remedy,
        "harm": most_harmful(before, wanted, spacing),
        "dice": overlap(before, wanted),
        "exact": overlap(targets[remedy], wanted),
        "after": {command: overlap(mask, wanted) for command, mask in after.items()},
        "orders": {
            command: {
                "asked": int((before ^ target).sum()),
                "left": int((after[command] ^ target).sum()),
                "changed": int((after[command] ^ before).sum()),
                "grown": int(after[command].sum()) - int(before.sum()),
                "voxels": int(before.sum()),
                "dice_before": overlap(before, target),
                "dice_after": overlap(after[command], target),
            }
            for command, target in targets.items()
        },
    }


def _after_a_click(actor: VoxelPolicy, case: TrainingCase, *, steps: int, hints: HintConfig) -> float:
    (prompt,) = prompts_of([case], case.image.shape, hints)
    _, states = acted(actor, [prompt], steps=steps, generator=None)
    return overlap(masks_of(states[0, -1]).numpy(), case.reference)


# --- what commanders win --------------------------------------------------------------------------------------------


def gain_under(commander: str, mask: Mapping[str, Any]) -> float:
    """Dice with the wanted mask after minus before; of the random commander its expectation."""
    return _chosen(commander, mask, lambda dice: dice - mask["dice"])


def won_under(commander: str, mask: Mapping[str, Any]) -> float:
    """Whether half of what the exact remedy brings was won; of the random commander its chance."""
    needed = mask["dice"] + HALF * (mask["exact"] - mask["dice"])
    return _chosen(commander, mask, lambda dice: float(dice >= needed))


def _chosen(commander: str, mask: Mapping[str, Any], value: Callable[[float], float]) -> float:
    if commander == "Random":
        return float(np.mean([value(mask["after"][command]) for command in ASKED]))
    command = {"Oracle": mask["remedy"], "NA": "na", "Adversarial": mask["harm"]}[commander]
    return value(mask["after"][command])


# --- what commands bring about --------------------------------------------------------------------------------------


class Done(NamedTuple):
    """What was made of one command. `progress`: share of the voxels asked for that came right, less those that went
    wrong (1 all, 0 none, negative: harm), NaN where nothing was asked for. `direction`: how often the volume went the
    right way. `left_alone`: false premises on which no voxel changed; `changed`: voxels changed on them, of the mask.
    """

    orders: int
    progress: float
    dice_before: float
    dice_after: float
    direction: Proportion | None
    left_alone: Proportion | None
    changed: float


def done_of(command: str, masks: Sequence[Mapping[str, Any]]) -> Done:
    """Of the runs of some masks under one command."""
    orders = [mask["orders"][command] for mask in masks]
    true, false = [o for o in orders if o["asked"]], [o for o in orders if not o["asked"]]
    asked, left = sum(o["asked"] for o in true), sum(o["left"] for o in true)
    sign = GROWING.get(command)
    right = sum(sign * o["grown"] > 0 for o in true) if sign else 0
    return Done(
        len(true),
        1 - left / asked if asked else float("nan"),
        float(np.mean([o["dice_before"] for o in true])) if true else float("nan"),
        float(np.mean([o["dice_after"] for o in true])) if true else float("nan"),
        wilson(right, len(true)) if sign and true else None,
        wilson(sum(o["changed"] == 0 for o in false), len(false)) if false else None,
        float(np.mean([o["changed"] / o["voxels"] for o in false])) if false else float("nan"),
    )


def likeness_of(masks: Sequence[Mapping[str, Any]], which: str = "after") -> float:
    """Dice with what was commanded, of orders with a true premise: the mean over commands. `which`: or "before"."""
    done = [done_of(command, masks) for command in ASKED]
    return float(np.nanmean([d.dice_after if which == "after" else d.dice_before for d in done]))
