"""Reads out of a session what a feedback record holds: copies of one region, so that packing and writing can wait.

Working order throughout. Knows nothing of consent or of the store; what it copies is forgotten where none was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import filled
from medseg_rl.refiner import MASK_THRESHOLD, Percent, Refiner
from medseg_rl.rlhf.records import ArrayReference, Grid, Hint, VolumePrompt
from medseg_rl.session.jobs import StaleDeltaError
from medseg_rl.session.state import union_of
from medseg_rl.session.writing import barrier
from medseg_rl.volume import Box, Index, Spacing

if TYPE_CHECKING:
    from medseg_rl.session.segmentation import SegmentationSession

Mask = npt.NDArray[np.bool_]
Pack = Callable[[npt.NDArray[Any]], ArrayReference]

MARGIN_MM = 10.0  # around everything that was touched: what a network needs to see of the surroundings


@dataclass(frozen=True, eq=False)
class RegionView:
    """The state that a person acted on, over `box`.

    `background`: hundredths of what was never written. `image`: float32 as networks see it, None unless asked for.
    """

    box: Box
    spacing: Spacing
    volume_shape: Index
    percent: Percent
    hints: tuple[Hint, ...]
    label: int
    background: int
    image: npt.NDArray[np.float32] | None = None
    locked: Mask | None = None
    modality: str | None = None

    @property
    def mask(self) -> Mask:
        """True inside the object."""
        inside: Mask = self.percent > MASK_THRESHOLD
        return inside

    def prompt(self, pack: Pack, *, command: str = "na") -> VolumePrompt:
        """As records hold it."""
        return VolumePrompt(
            grid=Grid(self.spacing, self.box.start, self.box.shape, self.volume_shape),
            initial_probability=pack(self.percent),
            image=None if self.image is None else pack(self.image),
            hints=self.hints,
            command=command,
            locked=None if self.locked is None else pack(self.locked),
            label=self.label,
            modality=self.modality,
        )


class CaseView:
    """Copies regions of one session."""

    def __init__(self, session: SegmentationSession) -> None:
        self._session = session

    @property
    def label_values(self) -> tuple[int, ...]:
        """Values of all labels."""
        return self._session.labels.values

    def policy_id(self) -> str | None:
        """What proposes here, by name and hash; None before it was loaded."""
        refiner = self._session._refiner.loaded
        return None if refiner is None else policy_of(refiner)

    def region(self, value: int, clicks: Iterable[Click], boxes: Iterable[Box | None]) -> Box | None:
        """Box of the label's mask, of `clicks` and `boxes`, with a margin; None when there is none of them."""
        soft = self._session._arrays.soft(value)
        parts = [Box.around_indices([click.index]) for click in clicks]
        parts += [box for box in (soft.extent.box, *boxes) if box is not None]
        whole = union_of(parts)
        return None if whole is None else self.with_margin(whole)

    def with_margin(self, box: Box) -> Box:
        """A box with what a network needs to see around it."""
        working = self._session._working
        return box.grown_mm(MARGIN_MM, working.spacing, working.shape)

    def percent(
        self,
        value: int,
        box: Box,
        background: int,
        *,
        undone: Iterable[BoxDelta] = (),
        done: Iterable[BoxDelta] = (),
    ) -> Percent:
        """The label's state over a box, without the changes `undone`, newest first, or with `done`, oldest first."""
        stored = self._session._arrays.soft(value).array[box.slices].copy()
        for delta in undone:
            delta.revert(stored, box.start)
        for delta in done:
            delta.apply(stored, box.start)
        return filled(stored, background)

    def accepted(self, value: int, box: Box) -> Mask:
        """True where the label map holds the label, over a box."""
        return self._session._arrays.accepted_mask(value, box)

    def accepted_box(self, value: int) -> Box | None:
        """Box of the label in the label map."""
        return self._session._arrays.accepted_box(value)

    def is_accepted(self, value: int, box: Box, mask: Mask) -> bool:
        """Whether the label map holds exactly `mask` over `box`, and nothing outside."""
        held = self.accepted_box(value)
        outside = held is not None and held.intersection(box) != held
        return not outside and bool((self.accepted(value, box) == mask).all())

    def check_current(self, version: int, label: int) -> None:
        """Raises StaleDeltaError where something was done since that version, or another label is active."""
        self._session._check_version(version)
        if label != self._session.active_label:
            raise StaleDeltaError(f"the result is for label {label}, but {self._session.active_label} is active")

    def present(self, *, image: bool, beside: Iterable[Box] = ()) -> RegionView:
        """The active label as it is now, in a region that also holds `beside`; the whole volume where it is nowhere."""
        value = self._session.active_label
        work = self._session._work(value)
        box = self.region(value, work.clicks, [work.open_box, *beside]) or Box.whole(self._session._working.shape)
        percent = self.percent(value, box, work.background)
        n_new = len(work.turns[-1].clicks) if work.turns else 0
        return self.view(value, box, percent, work.clicks, n_new=n_new, background=work.background, image=image)

    def view(
        self,
        value: int,
        box: Box,
        percent: Percent,
        clicks: tuple[Click, ...],
        *,
        n_new: int = 0,
        background: int,
        image: bool,
    ) -> RegionView:
        """A region with `percent` as the state; the last `n_new` clicks are this interaction's."""
        session, working = self._session, self._session._working
        parts = [layer[box.slices] for layer in session._arrays.layers]
        locked = barrier(parts, session.labels, value, session.overwrite)
        return RegionView(
            box=box,
            spacing=working.spacing,
            volume_shape=working.shape,
            percent=percent,
            hints=hints_in(box, clicks, n_new),
            label=value,
            background=background,
            image=working.read(box) if image else None,
            locked=locked if locked.any() else None,
            modality=session.image.modality,
        )


def policy_of(refiner: Refiner) -> str:
    """Name and hash of what proposes, such as "hippocampus@0a1b2c3d4e5f6071", as records hold it."""
    identity = refiner.describe().get("bundle_hash")
    name = re.sub(r"[^A-Za-z0-9.]+", "-", refiner.name).strip("-.") or "refiner"
    return f"{name[:60]}@{str(identity)[:16]}" if identity else name[:60]


def hints_in(box: Box, clicks: tuple[Click, ...], n_new: int) -> tuple[Hint, ...]:
    """The clicks that lie inside a box as hints from its corner."""
    first_new = len(clicks) - n_new
    return tuple(
        Hint(_from(box, click.index), click.label == ClickLabel.FOREGROUND, at >= first_new)
        for at, click in enumerate(clicks)
        if box.contains(click.index)
    )


def _from(box: Box, index: Index) -> Index:
    return index[0] - box.start[0], index[1] - box.start[1], index[2] - box.start[2]
