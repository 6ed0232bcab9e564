"""Which surfaces are out of date: compares view models, and says what is to be made. No Qt, no VTK, makes nothing.

One job is on its way at a time. What changes meanwhile belongs to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg_rl.volume import Box, Volume
from medseg_rl_gui.surface_meshes import Shape, Solid, SurfaceJob, Surfaces
from medseg_rl_gui.view_model import ProposalView, ViewModel


@dataclass(frozen=True)
class Stale:
    """Where voxels changed since a surface was made; `box` None: anywhere."""

    box: Box | None = None

    def and_(self, other: Stale) -> Stale:
        """Both changes."""
        return Stale(None if self.box is None or other.box is None else self.box.union(other.box))


class SurfacePlan:
    """Follows what is shown: `see` every model, `next_job`, then `done` or `dropped`."""

    def __init__(self) -> None:
        self.model = ViewModel()
        self._known: dict[int, Shape] = {}
        self._stale: dict[int, Stale] = {}
        self._job: SurfaceJob | None = None
        self._asked: dict[int, Stale] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether a job is on its way."""
        return self._job is not None

    @property
    def is_stale(self) -> bool:
        """Whether a surface that is to be seen is out of date."""
        return any(value in self.shown for value in self._stale)

    @property
    def shown(self) -> frozenset[int]:
        """The labels whose eye is open."""
        return frozenset(self.model.labels.values) - self.model.overlay.hidden

    @property
    def proposed(self) -> int | None:
        """The label of the open proposal."""
        return None if self.model.proposal is None else self.model.proposal.label

    def see(self, model: ViewModel, changed: Box | None = None) -> bool:
        """Takes the next model; `changed` as in `SliceView`. True where the image lies on another grid than before."""
        before, self.model = self.model, model
        regridded = not _same_grid(before.image, model.image)
        if regridded:
            self._forget()
        values = frozenset(model.labels.values) if model.image is not None else frozenset()
        for value in (*self._known, *self._stale):
            if value not in values:
                self._known.pop(value, None)
                self._stale.pop(value, None)
        for value in values:
            if (news := self._news_of(value, before, changed)) is not None:
                self._add(value, news)
        return regridded

    def _forget(self) -> None:
        self._known.clear()
        self._stale.clear()
        self._asked.clear()
        self._job = None

    def _news_of(self, value: int, before: ViewModel, changed: Box | None) -> Stale | None:
        """What may be different about a label; None where nothing is."""
        if value not in self._known and value not in self._asked:
            return Stale()
        found = None if changed is None else Stale(changed)
        layer = self.model.labels[value].layer
        if value not in before.labels or before.labels[value].layer != layer:
            return Stale()
        if changed is None and before.layers[layer] is not self.model.layers[layer]:
            return Stale()
        for box in _boxes(value, before.proposal, self.model.proposal):
            found = Stale(box) if found is None else found.and_(Stale(box))
        return found

    def _add(self, value: int, news: Stale) -> None:
        self._stale[value] = self._stale[value].and_(news) if value in self._stale else news

    # --- what is to be made -------------------------------------------------------------------------------------------

    def next_job(self) -> SurfaceJob | None:
        """What is to be made now; None where nothing is, or a job is on its way."""
        image = self.model.image
        asked = {value: stale for value, stale in self._stale.items() if value in self.shown}
        if image is None or self._job is not None or not asked:
            return None
        for value in asked:
            del self._stale[value]
        self._asked = asked
        self._job = SurfaceJob(tuple(self._solid(value, stale) for value, stale in asked.items()), image.affine)
        return self._job

    def _solid(self, value: int, stale: Stale) -> Solid:
        model = self.model
        array = model.layers[model.labels[value].layer]
        solid = Solid(value, array, self._known.get(value), stale.box)
        if model.proposal is None or model.proposal.label != value:
            return solid
        proposal = model.proposal
        return Solid(value, array, solid.known, solid.changed, proposal.box, proposal.inside)

    def done(self, job: SurfaceJob, found: Surfaces) -> Surfaces:
        """What of a job's finds is still wanted; nothing where another image was opened since."""
        if job is not self._job:
            return {}
        wanted = {value: surface for value, surface in found.items() if value in self.model.labels}
        self._known.update({value: surface.shape for value, surface in wanted.items()})
        self._job, self._asked = None, {}
        return wanted

    def dropped(self, job: SurfaceJob) -> None:
        """A job came to nothing: what it was to make is still out of date."""
        if job is self._job:
            asked, self._job, self._asked = self._asked, None, {}
            for value, stale in asked.items():
                self._add(value, stale)


def _same_grid(one: Volume | None, other: Volume | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or (one.shape == other.shape and np.allclose(one.affine, other.affine))


def _boxes(value: int, before: ProposalView | None, now: ProposalView | None) -> list[Box]:
    """Where another proposal for a label may differ from the one before it."""
    if before is now:
        return []
    return [proposal.box for proposal in (before, now) if proposal is not None and proposal.label == value]
