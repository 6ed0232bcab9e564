"""The models that lie on this computer, and the one in use: listed, chosen, loaded on the worker at first use.

Imports no torch: a bundle's networks do, when the worker first asks for them. Ground truth is never an input here.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from medseg_rl.bundle import Bundle, bundle_names, load_bundle
from medseg_rl.errors import BundleError, MedSegError
from medseg_rl.interaction import InteractionConfig
from medseg_rl.refiner import COMMANDS, Percent, Refiner
from medseg_rl.session.state import ModelUsed
from medseg_rl.volume import Volume
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.loading import unobtrusively

Cancel = Callable[[], bool]
Loaded = TypeVar("Loaded")


@dataclass(frozen=True, eq=False)
class Listed:
    """A bundle by name. `bundle`: None where it cannot be used, for the reason in `problem`."""

    name: str
    bundle: Bundle | None
    problem: str = ""


class Models:
    """`wanted`: name or folder of the bundle the user prefers; empty for the one that fits an image best.

    `device`: such as "cpu"; empty for a GPU where there is one.
    """

    def __init__(self, wanted: str = "", *, device: str = "") -> None:
        self.wanted = wanted
        self.device = device  # empty until the first model was loaded: then the fastest there is
        self._added: list[str] = []
        self._listed: tuple[Listed, ...] | None = None
        self._fits: tuple[weakref.ref[Volume], str, Bundle | None] | None = None  # what was found for the last image
        self._automatic: tuple[str, Callable[..., Percent]] | None = None

    # --- which there are ----------------------------------------------------------------------------------------------

    @property
    def listed(self) -> tuple[Listed, ...]:
        """All bundles that are found, those that cannot be used with the reason."""
        if self._listed is None:
            names = [*bundle_names(), *self._added]
            if self.wanted and self.wanted not in names:
                names.append(self.wanted)
            self._listed = tuple(_listed(name) for name in names)
        return self._listed

    def look_again(self) -> None:
        """A bundle was added or taken away."""
        self._listed = self._fits = None

    def fitting(self, image: Volume) -> Bundle | None:
        """The preferred bundle, else the one with the fewest warnings for this image; None where there is none.

        Looked for once for an image: this is asked after every step of work.
        """
        if self._fits is None or self._fits[0]() is not image or self._fits[1] != self.wanted:
            self._fits = weakref.ref(image), self.wanted, self._best(image)
        return self._fits[2]

    def _best(self, image: Volume) -> Bundle | None:
        found = [entry.bundle for entry in self.listed if entry.bundle is not None]
        preferred = [b for b in found if self.wanted in (b.name, b.folder.name, str(b.folder))]
        if preferred:
            return preferred[0]
        return min(found, key=lambda bundle: len(bundle.warnings(image)), default=None)

    def warnings(self, image: Volume) -> tuple[str, ...]:
        """What of an image lies outside what its bundle was trained on."""
        bundle = self.fitting(image)
        return () if bundle is None else bundle.warnings(image)

    @property
    def device_text(self) -> str:
        """What computes, for the status bar; empty before a model was loaded."""
        return tr("CPU only") if self.device == "cpu" else "GPU" if self.device == "cuda" else self.device.upper()

    # --- what they do -------------------------------------------------------------------------------------------------

    def refiner_for(self, image: Volume) -> Callable[[], Refiner]:
        """What loads the refiner for an image, when the first model action asks for it."""

        def load() -> Refiner:
            bundle = self.fitting(image)
            if bundle is None:
                raise BundleError(tr("there is no model on this computer; install one, or work by hand"))
            return self.refiner_of(bundle)()

        return load

    def refiner_of(self, bundle: Bundle) -> Callable[[], Refiner]:
        """What loads the refiner of one bundle, for the worker."""

        def load() -> Refiner:
            return self._on_device(bundle.refiner)

        return load

    def _on_device(self, load: Callable[[str], Loaded]) -> Loaded:
        """Loads something on the GPU, where there is none on the CPU; without holding up the window."""
        _leave_a_core()
        with unobtrusively():
            if not self.device:
                with contextlib.suppress(BundleError):
                    found = load("cuda")
                    self.device = "cuda"
                    return found
                self.device = "cpu"
            return load(self.device)

    def commands_for(self, image: Volume) -> tuple[str, ...]:
        """The commands that the model for an image knows; loads no network. Empty where it takes none."""
        bundle = self.fitting(image)
        return () if bundle is None or not bundle.has_agent else COMMANDS[1 : bundle.agent_settings.commands]

    @property
    def refining(self) -> tuple[Bundle, ...]:
        """All bundles that can refine; one that lies in two places stands here once."""
        found = [entry.bundle for entry in self.listed if entry.bundle is not None and entry.bundle.has_agent]
        first: dict[str, Bundle] = {}
        for bundle in found:
            first.setdefault(bundle.hash, bundle)
        return tuple(first.values())

    def add(self, folder: Path) -> Bundle:
        """Lists another bundle by its folder until the program ends. Raises BundleError for what is none."""
        bundle = load_bundle(folder)
        self._added = [*(path for path in self._added if path != str(folder)), str(folder)]
        self.look_again()
        return bundle

    def configured(self, image: Volume, config: InteractionConfig) -> InteractionConfig:
        """The way of refining that the bundle asks for: how many steps a click takes."""
        bundle = self.fitting(image)
        return config if bundle is None or not bundle.has_agent else replace(config, steps=bundle.steps)

    def starting(self, image: Volume) -> Bundle | None:
        """The bundle that gives the automatic start: the one that refines, else one that was trained on such images."""
        refining = self.fitting(image)
        if refining is not None and refining.has_automatic:
            return refining
        return next((bundle for bundle in self._able_to_start() if not bundle.warnings(image)), None)

    def _able_to_start(self) -> list[Bundle]:
        return [entry.bundle for entry in self.listed if entry.bundle is not None and entry.bundle.has_automatic]

    def used_to_start(self, image: Volume) -> ModelUsed | None:
        """What the work on an image will say of the model that gave its start."""
        bundle = self.starting(image)
        return None if bundle is None else ModelUsed(bundle.name, bundle.version, bundle.hash)

    def why_no_start(self, image: Volume) -> str:
        """Why there is no automatic start; empty where there is one."""
        bundle = self.fitting(image)
        if bundle is None:
            return tr("There is no model on this computer")
        if self.starting(image) is not None:
            return ""
        for other in self._able_to_start():
            return tr("The model {name} gives no automatic start; {why}").format(
                name=bundle.name, why="; ".join(other.warnings(image))
            )
        return tr("The model {name} gives no automatic start, and no other does").format(name=bundle.name)

    def predict(self, image: Volume, cancel: Cancel) -> Percent:
        """The automatic start; for the worker. Raises BundleError, Cancelled."""
        bundle = self.starting(image)
        if bundle is None:
            raise BundleError(tr("no model gives an automatic start; start empty, or from a mask file"))
        if self._automatic is None or self._automatic[0] != bundle.hash:
            self._automatic = bundle.hash, self._on_device(bundle.automatic).predict
        return self._automatic[1](image, cancel=cancel)


def _listed(name: str) -> Listed:
    try:
        return Listed(Path(name).name, load_bundle(name))
    except MedSegError as error:
        return Listed(Path(name).name, None, str(error))


def _leave_a_core() -> None:
    """One core stays for the window. Read by torch when it is loaded, so this must come first."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores - 1)))
    os.environ.setdefault("GOMP_SPINCOUNT", "0")  # threads that wait must not take the window's core
