"""Export…: asks, has it written on the worker, and says what was written. Copies the labels first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medseg_rl import __version__
from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.session.provenance import provenance_of, touched_by_model
from medseg_rl_gui.dialogs import Dialogs, FileQuestion
from medseg_rl_gui.exporting.dialog import ExportDialog
from medseg_rl_gui.exporting.formats import ExportChoices
from medseg_rl_gui.exporting.writing import Export, exportable_of
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.opening.starting import OpenedCase
from medseg_rl_gui.opening.waiting import Waiting

APPLICATION = f"medseg-rl-gui {__version__}"


class ExportFlow:
    """Remembers the last format that was chosen. `notify`: hears the file and what there is to know of it; where it is
    left out, a message says so. `user`: the name that goes into the provenance, empty for none.
    """

    def __init__(
        self,
        dialogs: Dialogs,
        waiting: Waiting,
        *,
        notify: Callable[[Path, Sequence[str]], None] | None = None,
        user: Callable[[], str] = str,
    ) -> None:
        self._dialogs = dialogs
        self._waiting = waiting
        self._notify = notify or self._tell
        self._user = user
        self._format = "seg"

    def export(self, case: OpenedCase, *, folder: str = "") -> Path | None:
        """Returns the file; None when nothing was written. The user is told of errors and of what to know."""
        try:
            return self._exported(case, folder)
        except Cancelled:
            return None
        except MedSegError as error:
            self._dialogs.tell(tr("Not exported"), str(error), tone="error")
            return None

    def _exported(self, case: OpenedCase, folder: str) -> Path | None:
        proposal = case.session.proposal
        if proposal is not None:
            name = case.session.labels[proposal.label].name
            raise MedSegError(tr("{name} has an open proposal; accept or discard it first").format(name=name))
        exportable = exportable_of(case.session)
        dialog = ExportDialog(exportable, self._format, getattr(self._dialogs, "parent", None))
        if not self._dialogs.run(dialog):
            return None
        choices = dialog.choices
        self._format = choices.format.id
        path = self._asked_where(case, choices, folder)
        if path is None:
            return None
        provenance = provenance_of(case.session, application=APPLICATION, user=self._user())
        export = Export(exportable, choices, touched_by_model(case.session), provenance)
        export.check(path)
        said = self._waiting.wait(tr("Exporting"), lambda progress: export.write(path))
        self._notify(path, said)
        return path

    def _tell(self, path: Path, said: Sequence[str]) -> None:
        text = tr("{name} was written.").format(name=path.name)
        self._dialogs.tell(tr("Exported"), "\n".join((text, *said)))

    def _asked_where(self, case: OpenedCase, choices: ExportChoices, folder: str) -> Path | None:
        ending = choices.format.ending
        question = FileQuestion(
            tr("Export labels"),
            "save",
            ((tr(choices.format.text), (f"*{ending}",)),),
            start=str(Path(folder) / f"{case.case_id}{ending}"),
            suffix=ending,
        )
        return next(iter(self._dialogs.choose_files(question)), None)
