"""What an open case is: its session, what the views show of it, and what keeps it safe: autosave, journal, feedback.

Knows no widget. The view state is JSON-ready, so that a recovery finds slices, window and crosshair again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np

from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.interaction import Preview
from medseg_rl.refiner import MASK_THRESHOLD
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import SegmentationSession
from medseg_rl.session.feedback import FeedbackRecorder
from medseg_rl.session.feedback_filing import CaseIdentity
from medseg_rl.volume import Box
from medseg_rl_gui.opening.starting import OpenedCase
from medseg_rl_gui.painted_layers import PaintedLayers
from medseg_rl_gui.preferences import Preferences
from medseg_rl_gui.view_model import ClickMark, Mask, Overlay, ProposalView, Slices, ViewModel, Window
from medseg_rl_gui.window_presets import initial_window, is_hounsfield

Submit = Callable[[Callable[[], None]], object]

VIEW = "window"  # under which the view of a session keeps what stands here


class CaseInHand:
    """An open case. `view`: what is shown; `selected_click`: number in the list, None for none."""

    def __init__(
        self, opened: OpenedCase, preferences: Preferences, *, submit: Submit, store: FeedbackStore | None = None
    ) -> None:
        self.opened = opened
        self.session: SegmentationSession = opened.session
        self.layers = PaintedLayers(self.session)
        self.selected_click: int | None = None
        self.preview: Preview | None = None
        self.pending: tuple[WorldClick, ...] = ()  # clicks that the model is at work on
        self._known: tuple[tuple[int, int, Box], Mask] | None = None
        self.recorder = self._recorder(store or FeedbackStore(), submit)
        self.view = restored(self._first_view(preferences), self._stored_view)
        self._saved_sequence = 0 if opened.keeping is None else opened.keeping.sequence
        self._saved_at = time.monotonic()

    def _recorder(self, store: FeedbackStore, submit: Submit) -> FeedbackRecorder | None:
        if self.opened.keeping is None:
            return None
        recorder = FeedbackRecorder(store, CaseIdentity.of(self.opened.case_id, self.session.image), submit=submit)
        recorder.watch(self.session)
        return recorder

    # --- what the views show ------------------------------------------------------------------------------------------

    @property
    def modality(self) -> str:
        """Such as "CT"; empty where it is not known."""
        return self.session.image.modality or ""

    @cached_property
    def is_hounsfield(self) -> bool:
        """Whether the values are Hounsfield units, so that the presets in HU make sense. Looks at voxels once."""
        return is_hounsfield(self.session.image, self.modality)

    def _first_view(self, preferences: Preferences) -> ViewModel:
        image, view = self.session.image, preferences.view
        stored, kept = image.source.get("window"), view.windows.get(self.modality or "unknown")
        window = initial_window(
            image,
            self.modality,
            stored=Window(stored["width"], stored["level"]) if stored else None,
            kept=Window(*kept) if kept and view.keep_window else None,
        )
        model = ViewModel(
            image=image,
            window=window,
            overlay=Overlay(outline=view.outline, opacity=view.opacity),
            crosshair_shown=view.crosshair,
            convention="neurological" if view.convention == "neurological" else "radiological",
            smooth=view.smooth,
        )
        return self.with_session(model.in_middle())

    def with_session(self, view: ViewModel) -> ViewModel:
        """A view with the labels, clicks and proposal as they are now."""
        session = self.session
        return replace(
            view,
            layers=self.layers.layers,
            labels=session.labels,
            active_label=session.active_label,
            proposal=self.proposal_view(),
            clicks=self.click_marks(),
        )

    def click_marks(self) -> tuple[ClickMark, ...]:
        """The clicks of the active label, and those that are being refined."""
        session, clicks = self.session, self.session.clicks
        proposal = session.proposal
        open_clicks = proposal.clicks if proposal is not None and proposal.label == session.active_label else 0
        marks = [
            ClickMark(
                click.index,
                click.label == ClickLabel.FOREGROUND,
                settled=number < len(clicks) - open_clicks,
                selected=number == self.selected_click,
            )
            for number, click in enumerate(clicks)
        ]
        return (*marks, *(self._pending_mark(click) for click in self.pending))

    def _pending_mark(self, click: WorldClick) -> ClickMark:
        i, j, k = (round(float(v)) for v in self.session.image.world_to_index(click.point_mm))
        return ClickMark((i, j, k), click.label == ClickLabel.FOREGROUND)

    def proposal_view(self) -> ProposalView | None:
        """The open proposal, or what a running refinement has come to so far."""
        session, preview = self.session, self.preview
        proposal, box = session.proposal, session.proposal_box
        if preview is not None:
            box = preview.box if box is None else box.union(preview.box)
        elif proposal is None:
            return None
        label = session.active_label if proposal is None else proposal.label
        if box is None:
            box = Box((0, 0, 0), (1, 1, 1))
        inside = self._inside(label, box)
        if preview is not None:
            start, inside = box.start, inside.copy(order="K")
            inside[preview.box.shifted((-start[0], -start[1], -start[2])).slices] = preview.percent > MASK_THRESHOLD
        return ProposalView(label, box, inside)

    def _inside(self, label: int, box: Box) -> Mask:
        """The state of a label in a box; worked out once for all previews that lie over it."""
        wanted = self.session.version, label, box
        if self._known is None or self._known[0] != wanted:
            self._known = wanted, self.session.mask_in(box, label)
        return self._known[1]

    # --- kept safe ----------------------------------------------------------------------------------------------------

    @property
    def _stored_view(self) -> Mapping[str, Any]:
        stored = {} if self.opened.keeping is None else self.opened.keeping.view.get(VIEW)
        return stored if isinstance(stored, Mapping) else {}

    def tick(self, seconds: float) -> None:
        """While input is idle: notes the view, and autosaves what is older than `seconds` or came of the model."""
        keeping = self.opened.keeping
        if keeping is None:
            return
        keeping.tick({**keeping.view, VIEW: view_state(self.view)})
        changed = keeping.sequence != self._saved_sequence
        if keeping.sequence == self._saved_sequence:
            self._saved_at = time.monotonic()
        if changed and time.monotonic() - self._saved_at >= seconds:
            self.autosave()

    def autosave(self) -> None:
        """Copies what was written, and has it written as a generation by the worker."""
        keeping = self.opened.keeping
        if keeping is not None:
            self._saved_sequence, self._saved_at = keeping.sequence, time.monotonic()
            keeping.autosave()

    @property
    def problem(self) -> str:
        """Why the newest work is not safe on the disk; empty while it is."""
        return "" if self.opened.keeping is None else self.opened.keeping.problem

    def note_view(self) -> None:
        """Has the journal keep the view as it is."""
        keeping = self.opened.keeping
        if keeping is not None:
            keeping.note_view({**keeping.view, VIEW: view_state(self.view)})

    def finish(self) -> None:
        """Nothing comes any more: what was drawn by hand becomes part of the feedback, where that is allowed."""
        if self.recorder is not None:
            self.recorder.finish()

    def close(self, *, discard: bool = False) -> None:
        """Lets go of the case; the worker has finished what it was given."""
        if self.opened.keeping is not None:
            self.opened.keeping.close(discard=discard)


# --- the view as values -----------------------------------------------------------------------------------------------


def view_state(view: ViewModel) -> dict[str, Any]:
    """What a recovery is to find again, ready for JSON."""
    overlay = asdict(view.overlay) | {"hidden": sorted(view.overlay.hidden)}
    return {
        "slices": asdict(view.slices),
        "crosshair": None if view.crosshair is None else [float(v) for v in view.crosshair],
        "window": [float(view.window.width), float(view.window.level)],
        "overlay": overlay,
        "convention": view.convention,
        "smooth": view.smooth,
        "crosshair_shown": view.crosshair_shown,
    }


def restored(view: ViewModel, stored: Mapping[str, Any]) -> ViewModel:
    """A view as it was left; what is missing or makes no sense stays as it is."""
    for name in ("smooth", "crosshair_shown"):
        if isinstance(stored.get(name), bool):
            view = view.changing(**{name: stored[name]})
    if stored.get("convention") in ("radiological", "neurological"):
        view = view.changing(convention=stored["convention"])
    window, point = _numbers(stored.get("window"), 2), _numbers(stored.get("crosshair"), 3)
    if window and window[0] > 0:
        view = view.changing(window=Window(*window))
    overlay = stored.get("overlay")
    if isinstance(overlay, Mapping):
        view = view.changing(overlay=_overlay(overlay, view.overlay))
    if point and view.image is not None:
        view = view.at((point[0], point[1], point[2]))
    return _on_slices(view, stored.get("slices"))


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in value):
        return None
    return tuple(float(v) for v in value)


def _overlay(stored: Mapping[str, Any], usual: Overlay) -> Overlay:
    changes: dict[str, Any] = {n: stored[n] for n in ("visible", "outline") if isinstance(stored.get(n), bool)}
    opacity = stored.get("opacity")
    if isinstance(opacity, int | float) and 0 <= opacity <= 1:
        changes["opacity"] = float(opacity)
    hidden = stored.get("hidden")
    if isinstance(hidden, list) and all(isinstance(v, int) for v in hidden):
        changes["hidden"] = frozenset(hidden)
    return replace(usual, **changes)


def _on_slices(view: ViewModel, stored: object) -> ViewModel:
    if not isinstance(stored, Mapping) or view.image is None:
        return view
    found = asdict(view.slices)
    for plane in found:
        index = stored.get(plane)
        if isinstance(index, int):
            found[plane] = int(np.clip(index, 0, view.geometry(plane).slices - 1))  # type: ignore[arg-type]
    return replace(view, slices=Slices(**found))
