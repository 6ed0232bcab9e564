"""A window with its panels on a real session, and models that need no torch: balls that draw, command and differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QCoreApplication

from medseg_rl.bundle import Bundle
from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume, content_hash
from medseg_rl_gui.controller import Controller
from medseg_rl_gui.dialogs import ScriptedDialogs
from medseg_rl_gui.main_window import MainWindow
from medseg_rl_gui.models import Listed, Models
from medseg_rl_gui.opening.images import OpenedImage
from medseg_rl_gui.opening.readings import Reading
from medseg_rl_gui.opening.starting import CaseStarter
from medseg_rl_gui.panels import build_panels
from medseg_rl_gui.preferences import PreferenceStore
from medseg_rl_gui.worker import Rank

SHAPE = (36, 34, 20)
AFFINE = np.array([[-1.0, 0, 0, 12], [0, -1.0, 0, 20], [0, 0, 2.0, -9], [0, 0, 0, 1]])
CENTRE = (18, 17, 10)


class Balls:
    """A soft ball round the first object click: a seed makes it larger or smaller, a command larger still."""

    def __init__(self, name: str, size: float, commands: int) -> None:
        self.name, self.size, self.commands = name, size, commands

    def describe(self) -> dict[str, Any]:
        return {"kind": "balls", "bundle_hash": f"{self.name}-hash", "commands": self.commands}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        if cancel():
            raise Cancelled("stopped")
        percent = request.percent.copy()
        drawn = 0 if request.seed is None else 3 * (request.seed % 7)
        for click in [c for c in request.clicks if c.label == ClickLabel.FOREGROUND][:1]:
            axes = np.ogrid[tuple(slice(n) for n in percent.shape)]
            squared = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, click.index, request.spacing, strict=True))
            reach = self.size + drawn + 6 * request.command
            percent = np.clip(50 + reach - 5 * np.sqrt(squared), 2, 98).astype(np.uint8)
        if request.held_voxels is not None:
            np.copyto(percent, request.percent, where=request.held_voxels)
        preview(percent)
        return percent


def bundle_of(name: str, commands: int = 0) -> Bundle:
    agent = {"network": "none", "policy": "none", "adjustments": [10], "channels": [], "commands": commands, "steps": 2}
    ours = {"format_version": 1, "agent": agent, "modalities": ["CT"]}
    return Bundle(Path(name), {"name": name, "version": "1.0", "medseg_rl": ours}, {"models/agent.safetensors": name})


class BallModels(Models):
    """Bundles by name and size of their balls."""

    def __init__(self, commands: int = 8, **sizes: float) -> None:
        super().__init__()
        self.sizes = sizes or {"one": 20.0}
        self.commands = commands

    @property
    def listed(self):
        return tuple(Listed(name, bundle_of(name, self.commands)) for name in self.sizes)

    def refiner_of(self, bundle):
        return lambda: Balls(bundle.name, self.sizes[bundle.name], self.commands)


class Panels:
    """The window with a case. `idle`: waits until nothing runs; `close`: as a user would."""

    def __init__(self, dialogs: ScriptedDialogs, models: Models, root: Path, feedback: FeedbackStore) -> None:
        self.dialogs, self.feedback, self.root = dialogs, feedback, root
        self.window = MainWindow(PreferenceStore.open(), dialogs)
        self.controller = Controller(self.window, models=models, feedback=feedback, root=root / "cases")
        if self.window.right.is_empty:
            build_panels(self.window, self.controller)

    def panel(self, name: str) -> Any:
        tabs = self.window.right.tabs
        return next(tabs.widget(at).widget() for at in range(tabs.count()) if tabs.widget(at).objectName() == name)

    def open(self, image: Volume | None = None, labels: Segmentation | None = None) -> None:
        image = image or ct()
        opened = OpenedImage(image, None, Reading(), content_hash(image), ("a test image",), "green")
        submit, models = self.controller.worker.submit_saving, self.controller.models
        starter = CaseStarter(models.refiner_for, submit=submit, root=self.root / "cases")
        self.controller.show(starter.new(opened, labels))
        self.idle()

    @property
    def session(self):
        return self.controller.desk.session

    def world(self, index: Sequence[int] = CENTRE) -> tuple[float, float, float]:
        x, y, z = (float(v) for v in self.session.image.index_to_world(np.asarray(index)))
        return x, y, z

    def click(self, index: Sequence[int] = CENTRE, *, positive: bool = True) -> None:
        self.controller.refining.click(self.world(index), positive=positive)
        self.idle()

    def wait(self, true: Callable[[], bool], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not come"
            QCoreApplication.processEvents()
            time.sleep(0.002)

    def idle(self) -> None:
        """Until the worker has nothing left and all that it found was delivered."""
        worker = self.controller.worker
        while True:
            last: list[None] = []
            worker.submit(lambda task: None, rank=Rank.QUANTITIES, done=last.append)
            self.wait(lambda last=last: bool(last))
            QCoreApplication.processEvents()
            if worker.running is None and not worker._waiting:
                return

    def close(self) -> None:
        self.idle()
        self.dialogs.answers = ["discard"]  # where there is unsaved work
        assert self.controller.may_close()

    def records(self, kind: str = ""):
        self.idle()
        return [record for record in self.feedback.records() if not kind or record.kind == kind]


def ct(seed: int = 0) -> Volume:
    rng = np.random.default_rng(seed)
    return Volume(rng.integers(-100, 200, SHAPE).astype(np.int16), AFFINE, "CT")
