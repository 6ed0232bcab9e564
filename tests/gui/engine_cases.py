"""The window with its engine on a small CT, and a model that paints balls step by step and can be held in a step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QCoreApplication, QEvent

from medseg_rl.bundle import Bundle
from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.refiner import HIGHEST, LOWEST
from medseg_rl.refiners.holding import hold
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Volume, content_hash
from medseg_rl_gui.controller import Controller
from medseg_rl_gui.dialogs import ScriptedDialogs
from medseg_rl_gui.main_window import MainWindow
from medseg_rl_gui.models import Listed, Models
from medseg_rl_gui.opening.images import OpenedImage
from medseg_rl_gui.opening.readings import Reading
from medseg_rl_gui.opening.starting import CaseStarter
from medseg_rl_gui.preferences import PreferenceStore
from tests.gui.story_hand import Hand

SHAPE = (40, 38, 24)
AFFINE = np.array([[-1.0, 0, 0, 12], [0, -1.0, 0, 20], [0, 0, 2.0, -9], [0, 0, 0, 1]])
CENTRE = (20, 19, 12)
RADIUS_MM = 6.0
STEP, RIM_STEP = 40, 25  # hundredths, in the inner half and at the rim, where it is less sure


class Painter:
    """Moves each voxel by up to 40 hundredths a step towards balls round the new clicks.

    `hold_steps` lets it wait inside its next step; `error` is raised there. `begun`: steps so far.
    """

    name = "painter"

    def __init__(self) -> None:
        self._may_go = threading.Event()
        self._may_go.set()
        self.begun = 0
        self.error: Exception | None = None

    def hold_steps(self) -> None:
        self._may_go.clear()

    def go_on(self) -> None:
        self._may_go.set()

    def describe(self) -> dict[str, Any]:
        return {"kind": self.name, "bundle_hash": "painter-hash", "commands": 8}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent
        for _ in range(request.steps):
            if cancel():
                raise Cancelled("stopped")
            self.begun += 1
            self._may_go.wait(20)
            if self.error is not None:
                raise self.error
            percent = self._stepped(percent, request)
            preview(percent)
        return percent

    def _stepped(self, percent, request):
        wider = 1.5 * request.command + (0.0 if request.seed is None else 1.5 * (request.seed % 3))
        state = percent.astype(np.int16)
        axes = np.ogrid[tuple(slice(n) for n in percent.shape)]
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :] or request.clicks[-1:]:
            squared = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, click.index, request.spacing, strict=True))
            sign = 1 if click.label == ClickLabel.FOREGROUND else -1
            state[squared <= (RADIUS_MM + wider) ** 2] += sign * RIM_STEP
            state[squared <= (RADIUS_MM / 2) ** 2] += sign * (STEP - RIM_STEP)
        stepped = np.clip(state, LOWEST, HIGHEST).astype(np.uint8)
        hold(stepped, request)
        return stepped


class PainterModels(Models):
    """One bundle, which is the painter; its automatic start is a cube round the centre."""

    def __init__(self) -> None:
        super().__init__(device="cpu")
        self.painter = Painter()
        agent = {"network": "none", "policy": "none", "adjustments": [10], "channels": [], "commands": 8, "steps": 3}
        metadata = {"name": "painter", "version": "1", "medseg_rl": {"format_version": 1, "agent": agent}}
        self._bundle = Bundle(Path("painter"), metadata, {"models/agent.safetensors": "painter-hash"})

    @property
    def listed(self) -> tuple[Listed, ...]:
        return (Listed("painter", self._bundle),)

    def refiner_of(self, bundle: Bundle) -> Callable[[], Any]:
        return lambda: self.painter

    def starting(self, image: Volume) -> Bundle:
        return self._bundle

    def why_no_start(self, image: Volume) -> str:
        return ""

    def predict(self, image: Volume, cancel: Callable[[], bool]) -> Any:
        percent = np.full(image.shape, LOWEST, np.uint8)
        percent[tuple(slice(n // 2 - 3, n // 2 + 3) for n in image.shape)] = HIGHEST
        return percent


class Engine:
    """`hand`: what a user does; `held`: the same without waiting for the worker. `seconds`: the longest wait."""

    def __init__(self, root: Path, models: Models | None = None, seconds: float = 20.0) -> None:
        self.dialogs, self.root, self._seconds = ScriptedDialogs(), root, seconds
        self.models = models or PainterModels()
        self.window = MainWindow(PreferenceStore.open(), self.dialogs)
        self.controller = Controller(self.window, models=self.models, root=root / "cases")
        self.window.resize(1200, 800)
        self.hand = Hand(self.window, self.idle)
        self.held = Hand(self.window, QCoreApplication.processEvents)

    def open(self, image: Volume | None = None, labels: Any = None) -> None:
        """A case from the beginning; the one before is let go."""
        image = image or ct()
        self.let_go()
        opened = OpenedImage(image, None, Reading(), content_hash(image), ("a small CT",), "green")
        worker, models = self.controller.worker, self.models
        starter = CaseStarter(models.refiner_for, submit=worker.submit_saving, root=self.root / "cases")
        self.controller.show(starter.new(opened, labels))
        self.controller.desk.go_to(self.world([n // 2 for n in image.shape]))
        self.window.show()
        self.window.activateWindow()
        self.idle()

    def let_go(self) -> None:
        self.dialogs.answers = ["discard"]
        assert self.controller.release()
        self.dialogs.answers = []

    @property
    def painter(self) -> Painter:
        assert isinstance(self.models, PainterModels)
        return self.models.painter

    @property
    def session(self) -> SegmentationSession:
        return self.controller.desk.session

    @property
    def said(self) -> str:
        """What the status bar says."""
        return self.window.status.message.text()

    def world(self, index: Sequence[float] = CENTRE) -> tuple[float, float, float]:
        x, y, z = (float(v) for v in self.session.image.index_to_world(np.asarray(index, float)))
        return x, y, z

    def click(self, index: Sequence[float] = CENTRE, *, positive: bool = True) -> bool:
        """Through the controller, without a wait."""
        return self.controller.refining.click(self.world(index), positive=positive)

    def clicked(self, index: Sequence[float] = CENTRE, *, positive: bool = True) -> None:
        assert self.click(index, positive=positive)
        self.idle()

    def do(self, id_: str) -> None:
        """An action of the table, which must be possible."""
        assert self.window.acts.reason(id_) == "", id_
        self.window.acts.trigger(id_)
        self.idle()

    def wait(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + self._seconds
        while not true():
            assert time.monotonic() < end, "it did not come"
            QCoreApplication.processEvents()
            time.sleep(0.001)

    def idle(self) -> None:
        controller, quiet = self.controller, 0

        def is_quiet() -> bool:
            nonlocal quiet
            quiet = 0 if controller.worker._all() or controller.desk.jobs else quiet + 1
            return quiet > 2

        self.wait(is_quiet)

    def close(self) -> None:
        if isinstance(self.models, PainterModels):
            self.painter.go_on()
        self.let_go()
        assert self.controller.may_close()
        self.window.close()
        self.window.deleteLater()
        for _ in range(3):
            QCoreApplication.processEvents()
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def ct(seed: int = 0) -> Volume:
    rng = np.random.default_rng(seed)
    return Volume(rng.integers(-100, 200, SHAPE).astype(np.int16), AFFINE, "CT")


def ball_mm(shape: Sequence[int], spacing: Sequence[float], centre: Sequence[int], radius_mm: float) -> np.ndarray:
    """Voxels whose centre lies within a radius of another's."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squared = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True))
    return np.asarray(squared <= radius_mm**2)
