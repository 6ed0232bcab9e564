"""Proposals that begin from a mask: from a file, checked as one that is loaded, or from another label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import MedSegError
from medseg_rl.segmentation import Segmentation
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.opening.masks import MaskFlow
from medseg_rl_gui.refining import Refining
from medseg_rl_gui.worker import reason_of

Mask = npt.NDArray[np.bool_]


class Starting:
    """For the active label; nothing is accepted here. The network's own start is `Refining.start`."""

    def __init__(self, desk: Desk, refining: Refining, masks: MaskFlow) -> None:
        self._desk, self._refining, self._masks = desk, refining, masks

    def why_not(self) -> str:
        """Why no proposal can begin now; empty where one can."""
        reason = self._desk.why_not()
        if reason:
            return reason
        session = self._desk.session
        label, proposal = session.labels[session.active_label], session.proposal
        if label.locked:
            return tr("{name} is locked; open its lock first").format(name=label.name)
        if proposal is not None and proposal.label != session.active_label:
            return tr("Accept or discard the open proposal first")
        return ""

    def from_file(self, path: Path) -> bool:
        """The label of that value of the active one, else all of them together. Asks where the grid is another."""
        if not self._may():
            return False
        session = self._desk.session
        try:
            found = self._masks.read(path, session.image)
        except MedSegError as error:
            self._desk.window.dialogs.tell(tr("Not a mask of this image"), reason_of(error), tone="error")
            return False
        if found is None:
            return False
        value = session.active_label
        return self._refining.start_from(lambda: mask_of(found, value), tr("Start from a mask"))

    def from_label(self, value: int) -> bool:
        """What another label holds."""
        if not self._may():
            return False
        session = self._desk.session
        name = tr("Start from {name}").format(name=session.labels[value].name)
        segmentation = session.segmentation
        return self._refining.start_from(lambda: segmentation.mask_of(value).copy(), name)

    def _may(self) -> bool:
        reason = self.why_not()
        if reason:
            self._desk.say(reason)
        return not reason


def mask_of(found: Segmentation, value: int) -> Mask:
    """One label of a segmentation by value; all of them together where it has none of that value."""
    values = [value] if value in found.labels else list(found.labels.values)
    mask = np.zeros(found.grid.shape, np.bool_)
    for one in values:
        mask |= found.mask_of(one)
    return mask
