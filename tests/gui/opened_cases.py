"""A small CT and a window without widgets, for the tests of opening, saving and exporting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.volume import Volume
from medseg_rl_gui.dialogs import ScriptedDialogs
from medseg_rl_gui.opening.flow import OpeningFlow
from medseg_rl_gui.opening.starting import CaseStarter, OpenedCase
from medseg_rl_gui.opening.waiting import AtOnce

SHAPE = (16, 14, 10)
AFFINE = np.array([[-2.0, 0, 0, 12], [0, -2.0, 0, 20], [0, 0, 3.0, -9], [0, 0, 0, 1]])


def ct(seed: int = 0) -> Volume:
    rng = np.random.default_rng(seed)
    return Volume(rng.integers(-1000, 1000, SHAPE).astype(np.int16), AFFINE, "CT")


def ball(centre: tuple[int, int, int] = (8, 7, 5), radius: float = 3.5) -> np.ndarray:
    grid = np.indices(SHAPE)
    return np.sum((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2, axis=0) <= radius**2


class Window:
    """What the flows need of the controller."""

    def __init__(self) -> None:
        self.case: OpenedCase | None = None
        self.shown: list[OpenedCase] = []
        self.notices: list[str] = []
        self.may_release = True

    def release(self) -> bool:
        if not self.may_release:
            return False
        if self.case is not None and self.case.keeping is not None:
            self.case.keeping.close()
        self.case = None
        return True

    def show(self, case: OpenedCase) -> None:
        assert self.case is None
        self.case = case
        self.shown.append(case)

    def labels_changed(self, notices: Sequence[str]) -> None:
        self.notices += notices


class Desk:
    """A flow with a dialog service that answers from a list, and everything around it."""

    def __init__(self, dialogs: ScriptedDialogs, root: Path | None = None) -> None:
        self.dialogs, self.waiting, self.window = dialogs, AtOnce(), Window()
        self.starter = CaseStarter(lambda image: PaintBall, submit=lambda work: work(), root=root)
        self.flow = OpeningFlow(dialogs, self.waiting, self.starter, self.window, root=root)

    @property
    def case(self) -> OpenedCase:
        assert self.window.case is not None
        return self.window.case

    def close(self) -> None:
        self.window.release()
