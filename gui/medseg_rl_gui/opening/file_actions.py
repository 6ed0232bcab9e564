"""The actions of the File menu: each calls a flow, and what came of it goes to window, recent files and preferences.

Holds no session: `desk` does. The window and the worker are handed over, so that tests need neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from PySide6.QtWidgets import QWidget

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.samples import sample_folder
from medseg_rl_gui import recent
from medseg_rl_gui.banners import Banners
from medseg_rl_gui.dialogs import Dialogs
from medseg_rl_gui.exporting.flow import ExportFlow
from medseg_rl_gui.exporting.screenshots import ScreenshotFlow
from medseg_rl_gui.i18n import number, tr
from medseg_rl_gui.opening.flow import OpenCase, OpeningFlow
from medseg_rl_gui.opening.starting import CaseStarter, OpenedCase
from medseg_rl_gui.opening.waiting import Waiting
from medseg_rl_gui.preferences import PreferenceStore

OPENED, FORMS, READ_ONLY, NOTICES, SAVED = "opened", "forms", "read-only", "opening-notices", "saved"
LABELS = "labels"  # what came into the open case


class FileActions:
    """`picture_of`: the view under the pointer, or the window; `say`: the status bar."""

    def __init__(
        self,
        desk: OpenCase,
        starter: CaseStarter,
        waiting: Waiting,
        *,
        dialogs: Dialogs,
        store: PreferenceStore,
        banners: Banners,
        say: Callable[[str], object],
        view: Callable[[], QWidget],
        window: Callable[[], QWidget],
        root: Path | None = None,
    ) -> None:
        self._desk, self._dialogs, self._store, self._banners, self._say = desk, dialogs, store, banners, say
        self._view, self._window = view, window
        self.opening = OpeningFlow(dialogs, waiting, starter, desk, root=root)
        self.exporting = ExportFlow(dialogs, waiting, notify=self._exported, user=lambda: store.current.model.user_name)
        self.screenshots = ScreenshotFlow(dialogs)
        self._saved_path: dict[str, Path] = {}  # by case, once it was saved under another name

    def handlers(self) -> Mapping[str, Callable[..., object]]:
        """By action id."""
        flow = self.opening
        return {
            "file.open": lambda: self._after(flow.ask_for_file(self._store.current.files.open_folder)),
            "file.open_folder": lambda: self._after(flow.ask_for_folder(self._store.current.files.open_folder)),
            "file.open_sample": lambda: self._after(flow.open_sample()),
            "file.cases": lambda: self._after(flow.ask_for_case()),
            "file.load_mask": lambda: flow.ask_for_mask(self._store.current.files.open_folder),
            "file.save": lambda: self.save(),
            "file.save_as": lambda: self.save(ask=True),
            "file.export": self.export,
            "file.screenshot_view": lambda: self.screenshot(self._view()),
            "file.screenshot_window": lambda: self.screenshot(self._window()),
            "file.close": lambda: self._desk.release(),
        }

    # --- opening ------------------------------------------------------------------------------------------------------

    def open_paths(self, paths: Sequence[Path]) -> bool:
        """Dropped, chosen from the recent files, or named on the command line."""
        return self._after(self.opening.open(paths))

    def recover_at_start(self) -> bool:
        """Offers what a crash has left."""
        return self._after(self.opening.recover_at_start())

    def _after(self, done: bool) -> bool:
        """Notes where the image lies and shows what there is to know of it."""
        case = self._desk.case
        if done and case is not None:
            path = case.saved_path or case.opened.path
            if path is not None and sample_folder() not in path.parents:
                recent.remember(self._store, path)
                self._store.change("files", open_folder=str(path.parent))
            self._announce(case)
        return done

    def _announce(self, case: OpenedCase) -> None:
        """The geometry report in the status bar, and a banner for whatever is not as it should be."""
        for name in (OPENED, FORMS, READ_ONLY, NOTICES):
            self._banners.put_away(name)
        opened = case.opened
        self._say(opened.lines[0])
        warnings = [line for line in opened.lines[1:] if opened.forms_apart_mm is None or "qform" not in line]
        disabled = opened.image.source.get("quantities")
        if disabled and not any("quantities are disabled" in line for line in warnings):
            warnings.append(tr("Quantities are {why}").format(why=disabled))
        if warnings:
            self._banners.show_banner(OPENED, "\n".join(warnings), tone="warning")
        if opened.forms_apart_mm is not None and math.isfinite(opened.forms_apart_mm):
            self._banner_of_forms(case)
        if case.session.read_only:
            text = tr("Read only: {why}. Nothing can be changed here.").format(why=case.session.read_only)
            self._banners.show_banner(READ_ONLY, text, tone="warning")
        if case.notices:
            self._banners.show_banner(NOTICES, "\n".join(case.notices), tone="warning")

    def put_notices_away(self) -> None:
        """What was said of the case that was open."""
        for name in (OPENED, FORMS, READ_ONLY, NOTICES, LABELS):
            self._banners.put_away(name)

    def _banner_of_forms(self, case: OpenedCase) -> None:
        apart = case.opened.forms_apart_mm
        used, other = ("qform", "sform") if case.opened.reading.prefer == "qform" else ("sform", "qform")
        text = tr("The file states two positions, which lie up to {mm} mm apart at the corners. The {used} is used.")
        said = text.format(mm=number(apart or 0.0, 1), used=used)
        button = tr("Use the {other}").format(other=other)
        self._banners.show_banner(
            FORMS, said, tone="warning", buttons={button: lambda: self._after(self.opening.use_other_form())}
        )

    # --- saving -------------------------------------------------------------------------------------------------------

    def save(self, *, ask: bool = False) -> Path | None:
        """Saves the open case where it was saved before, or where the user says. Returns the file."""
        case = self._desk.case
        if case is None:
            return None
        known = None if ask else self._saved_path.get(case.case_id, case.saved_path)
        try:
            path = self.opening.sessions.save(case, known, folder=self._store.current.files.save_folder)
        except Cancelled:
            return None
        except MedSegError as error:
            self._dialogs.tell(tr("Not saved"), str(error), tone="error")
            return None
        if path is not None:
            self._saved_path[case.case_id] = path
            self._noted(path, tr("Saved as {name}"))
            recent.remember(self._store, path)
        return path

    def letting_go(self) -> Literal["stay", "keep", "discard"]:
        """Asks what is to become of unsaved work before a case is closed, and saves it if so wished."""
        case = self._desk.case
        answer = "keep" if case is None else self.opening.sessions.closing(case)
        if answer == "save":
            return "stay" if self.save() is None else "keep"
        return answer or "stay"

    # --- exporting ----------------------------------------------------------------------------------------------------

    def export(self) -> Path | None:
        """Export…"""
        case = self._desk.case
        return None if case is None else self.exporting.export(case, folder=self._store.current.files.save_folder)

    def _exported(self, path: Path, said: Sequence[str]) -> None:
        self._noted(path, tr("{name} was written"))
        if said:
            self._banners.show_banner(SAVED, "\n".join(said), tone="information")

    def screenshot(self, widget: QWidget) -> Path | None:
        """A picture with the legend of the labels that are there."""
        case = self._desk.case
        labels = () if case is None else case.session.labels.labels
        name = "medseg-rl" if case is None else case.case_id
        path = self.screenshots.save(widget, labels, name=name, folder=self._store.current.files.save_folder)
        if path is not None:
            self._noted(path, tr("{name} was written"))
        return path

    def _noted(self, path: Path, text: str) -> None:
        self._say(text.format(name=path.name))
        self._store.change("files", save_folder=str(path.parent))
