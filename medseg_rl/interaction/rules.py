"""What holds whatever the refiner says: clicks are hard, held voxels stay, a sign adds or removes only what it may."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction.config import InteractionConfig
from medseg_rl.interaction.region import held_by_guard
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent
from medseg_rl.volume import Box, Spacing

Mask = npt.NDArray[np.bool_]

SIGN_GUARD_MM = 10.0


@dataclass(frozen=True, eq=False)
class RegionState:
    """A region before its turn; arrays and clicks count from its corner.

    `before`: the state in hundredths. `percent`: the same with locked voxels at their lowest, as the refiner sees it.
    `held`: True where nothing may change, or None. `clicks`: all so far, the new ones last.
    """

    box: Box
    before: Percent
    percent: Percent
    held: Mask | None
    clicks: tuple[Click, ...]
    new_clicks: tuple[Click, ...]

    @classmethod
    def of(
        cls,
        box: Box,
        before: Percent,
        *,
        locked: Mask | None,
        guarded: Mask | None,
        clicks: tuple[Click, ...],
        n_new: int,
    ) -> RegionState:
        """`locked`: of other labels, not to be changed and held to be background. `guarded`: beyond the guard."""
        percent, held = before, guarded
        if locked is not None:
            percent = np.where(locked, np.uint8(LOWEST), before)
            held = locked if guarded is None else locked | guarded
        return cls(box, before, percent, held, clicks, clicks[len(clicks) - n_new :])


def respected(percent: Percent, clicks: tuple[Click, ...]) -> tuple[bool, ...]:
    """For each click whether its voxel has its label."""
    return tuple(
        bool(percent[click.index] > MASK_THRESHOLD) == (click.label == ClickLabel.FOREGROUND) for click in clicks
    )


def with_rules(state: RegionState, wanted: Percent, config: InteractionConfig, spacing: Spacing) -> Percent:
    """What becomes of the state the refiner wants: a copy, hundredths 1..99."""
    if wanted.shape != state.percent.shape or wanted.dtype != np.uint8:
        found = f"{wanted.shape} {wanted.dtype}"
        raise ValueError(f"the refiner returned {found} for a region of {state.percent.shape} uint8")
    after = np.clip(wanted, LOWEST, HIGHEST)
    if config.sign_guard:
        _guard_sign(after, state, spacing)
    if config.enforce_clicks:
        for click in state.clicks:
            after[click.index] = HIGHEST if click.label == ClickLabel.FOREGROUND else LOWEST
    if state.held is not None:
        np.copyto(after, state.percent, where=state.held)
    return after


def _guard_sign(after: Percent, state: RegionState, spacing: Spacing) -> None:
    """In place: background clicks alone add nothing, object clicks alone remove nothing beyond 10 mm of them."""
    labels = {click.label for click in state.new_clicks}
    if len(labels) != 1:
        return
    was, now = state.percent > MASK_THRESHOLD, after > MASK_THRESHOLD
    if labels == {ClickLabel.BACKGROUND}:
        np.copyto(after, state.percent, where=now & ~was)
        return
    far = held_by_guard(state.new_clicks, SIGN_GUARD_MM, spacing, Box.whole(state.box.shape))
    if far is not None:
        np.copyto(after, state.percent, where=was & ~now & far)
