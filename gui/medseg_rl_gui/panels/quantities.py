"""The Quantities tab: what each label measures, with formulas; two plots; the comparison with a mask file.

Measures nothing itself: `Measuring` does, on the worker. Numbers of work that went on since are marked as such.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QColor, QGuiApplication, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.quantities import NOTICE, QuantityReport
from medseg_rl_gui.dialogs import FileQuestion
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.measuring import LabelPlots, Measured
from medseg_rl_gui.panels.parts import ButtonGrid, ChoiceBox, Note, NumberBox, Section, button, grey, words
from medseg_rl_gui.panels.plots import AreaPlot, HistogramPlot
from medseg_rl_gui.panels.quantity_table import QuantityTable, explained
from medseg_rl_gui.slice_geometry import PLANES, Plane
from medseg_rl_gui.worker import Rank, reason_of

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller

WAIT_MS = 300  # after a change, so that a quick row of edits is measured once
MASKS = (
    "*.nii",
    "*.nii.gz",
    "*.nrrd",
    "*.seg.nrrd",
    "*.mha",
    "*.mhd",
    "*.dcm",
)


class QuantitiesPanel(QWidget):
    """Follows the session while it is to be seen; the plots follow the crosshair."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._desk, self._measuring = controller.desk, controller.measuring
        self._value: int | None = None  # of the label that is plotted
        self._plane: Plane = "axial"
        self._compared = ""  # the mask file that the table was led to
        self._later = QTimer(self)
        self._later.setObjectName("quantities")
        self._later.setSingleShot(True)
        self._later.setInterval(WAIT_MS)
        self._later.timeout.connect(self._measure)
        self._build()
        self._connect()
        self._follow()

    # --- how it is put together ---------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.state, self.flags = Note("warning"), Note("warning")
        self.tree = QuantityTable()
        self.formula = words(faint=True)
        self.formula.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.formula.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.formula.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.histogram, self.areas = HistogramPlot(), AreaPlot()
        self.plane = ChoiceBox(tr("Plane of the slices"))
        names = {"axial": tr("Axial"), "coronal": tr("Coronal"), "sagittal": tr("Sagittal")}
        for plane in PLANES:
            self.plane.addItem(names[plane], plane)
        self._build_buttons()
        self._lay_out()

    def _build_buttons(self) -> None:
        self.copy = button(tr("Copy"), self._copy, icon_name="copy", tip=tr("Copy the table, tab-separated"))
        self.csv = button(tr("CSV…"), lambda: self._write("csv"), tip=tr("Save with units, methods and hashes"))
        self.json = button(tr("JSON…"), lambda: self._write("json"), tip=tr("Save everything for a program"))
        self.compare = button(
            tr("Compare with mask…"), self._compare, tip=tr("Dice, HD95, ASSD and NSD against a file")
        )
        self.no_compare = button(tr("Remove"), self._measuring.compare_with_nothing, tip=tr("End the comparison"))
        self.reference = words()
        mm = self._measuring.tolerance_mm
        self.tolerance = NumberBox(tr("Tolerance of NSD"), 0.1, 50.0, mm, decimals=1, suffix=tr(" mm"))
        self.tolerance.setSingleStep(0.5)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        for widget in (self.state, self.flags):
            column.addWidget(widget)
        column.addWidget(self.tree, 1)
        column.addWidget(self.formula)
        column.addWidget(ButtonGrid([self.copy, self.csv, self.json], columns=3))
        column.addWidget(self.histogram)
        plane = QHBoxLayout()
        plane.addWidget(QLabel(tr("Slices")))
        plane.addWidget(self.plane)
        plane.addStretch(1)
        column.addLayout(plane)
        column.addWidget(self.areas)
        column.addWidget(self._comparison())
        column.addWidget(words(tr("Accepted masks only. {notice}").format(notice=tr(NOTICE)), faint=True))

    def _comparison(self) -> QWidget:
        section = Section(tr("Comparison"))
        section.column.addWidget(ButtonGrid([self.compare, self.no_compare]))
        section.column.addWidget(self.reference)
        tolerance = QHBoxLayout()
        label = QLabel(tr("NSD within"))
        label.setBuddy(self.tolerance)
        tolerance.addWidget(label)
        tolerance.addWidget(self.tolerance)
        tolerance.addStretch(1)
        section.column.addLayout(tolerance)
        return section

    def _connect(self) -> None:
        desk, measuring = self._desk, self._measuring
        desk.session_changed.connect(self._follow)
        desk.case_changed.connect(lambda _: self._follow())
        desk.view_changed.connect(lambda _: self._show_slice())
        measuring.measured.connect(lambda _: self._show())
        measuring.busy_changed.connect(lambda busy: self._say_state() if busy else self._follow())
        self.tree.chosen.connect(self._chosen)
        self.plane.currentIndexChanged.connect(lambda _: self._show_plots())
        self.areas.slice_chosen.connect(self._go_to)
        self.tolerance.valueChanged.connect(measuring.set_tolerance)

    # --- following ----------------------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        super().showEvent(event)
        self._follow()

    def _follow(self) -> None:
        if self._desk.case is None:
            self._later.stop()
            self._show()
        elif self._measuring.is_stale and self.isVisible() and not self._is_refused:
            self._later.start()
        self._say_state()

    def _measure(self) -> None:
        if self.isVisible():
            self._measuring.measure()

    @property
    def _is_refused(self) -> bool:
        """Whether this was said of an image that must not be measured, which no edit changes."""
        latest, image = self._measuring.latest, self._desk.session.image
        disabled = str(image.source.get("quantities", "")).startswith("disabled")
        return disabled and latest is not None and latest.report is None

    def _say_state(self) -> None:
        latest, case = self._measuring.latest, self._desk.case
        stale = self._measuring.is_stale
        if case is None:
            self.state.say("")
        elif latest is not None and latest.problem:
            self.state.say(tr("Disabled: {why}").format(why=latest.problem), "error")
        elif stale and latest is not None:
            self.state.say(tr("Out of date: the masks changed. Measuring again…"), "warning")
        elif latest is None:
            self.state.say(tr("Measuring…"), "information")
        else:
            self.state.say("")
        usable = latest is not None and latest.report is not None and not stale
        reason = "" if usable else tr("There are no numbers of the masks as they are now")
        for made, usual in ((self.copy, tr("Copy the table, tab-separated")), (self.csv, ""), (self.json, "")):
            grey(made, reason, usual)
        grey(self.compare, "" if case is not None else tr("Open an image first"))
        name = self._measuring.reference_name
        grey(self.no_compare, "" if name else tr("Nothing is compared"))
        grey(self.tolerance, "" if name else tr("Nothing is compared"), tr("How far surfaces may lie apart to agree"))
        self.tree.fade(stale)

    # --- the table ----------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        latest, case = self._measuring.latest, self._desk.case
        if case is None:
            self.tree.show_report(None, {}, 0)
        else:
            labels = case.session.labels.labels
            colours = {label.value: QColor(*label.colour) for label in labels}
            self.tree.show_report(None if latest is None else latest.report, colours, case.session.active_label)
            self._lead_to_comparison(case.session.active_label)
        self._say_flags(latest)
        self._say_state()

    def _lead_to_comparison(self, active: int) -> None:
        """A comparison that is new is what the user wants to see."""
        name = self._measuring.reference_name
        if name and name != self._compared and self.tree.choose((active, "dice")):
            self._compared = name
        elif not name:
            self._compared = ""

    def _chosen(self) -> None:
        key, quantity = self.tree.key, self.tree.quantity
        self._value = None if key is None else key[0]
        self.formula.setText("" if quantity is None else explained(quantity))
        self._show_plots()

    def _say_flags(self, latest: Measured | None) -> None:
        lines = []
        if latest is not None and latest.report is not None:
            for label in latest.report.labels:
                if label.cut_off:
                    text = tr("{name} is cut off at {sides}: the mask touches the edge of the image there")
                    lines.append(text.format(name=label.name, sides=", ".join(label.cut_off)))
            lines += [warning[:1].upper() + warning[1:] for warning in latest.report.warnings]
        self.flags.say("\n".join(lines))
        name = self._measuring.reference_name
        notes = () if latest is None else latest.notes
        said = [tr("Compared with {name}").format(name=name), *notes] if name else [tr("With no other mask yet")]
        self.reference.setText("\n".join(said))

    # --- the plots ----------------------------------------------------------------------------------------------------

    def _show_plots(self) -> None:
        latest, value = self._measuring.latest, self._value
        self._plane = self.plane.currentData()
        plots = (
            LabelPlots(None, {}) if latest is None or value is None else latest.plots.get(value, LabelPlots(None, {}))
        )
        colour = self._colour(value)
        self.histogram.show_histogram(plots.histogram, colour)
        self.areas.show_areas(plots.areas.get(self._plane), colour)
        self._show_slice()

    def _colour(self, value: int | None) -> QColor:
        known = value is not None and self._desk.case is not None and value in self._desk.session.labels
        return QColor(*self._desk.session.labels[value].colour) if known and value is not None else QColor("#808080")

    def _show_slice(self) -> None:
        view = self._desk.view
        self.areas.show_slice(None if view.image is None else view.slices[self._plane])

    def _go_to(self, index: int) -> None:
        if self._desk.case is not None:
            self._desk.show_view(self._desk.view.on_slice(self._plane, index))

    # --- out of here --------------------------------------------------------------------------------------------------

    @property
    def report(self) -> QuantityReport | None:
        """The numbers that are shown, while they are those of the masks as they are now."""
        latest = self._measuring.latest
        return None if latest is None or self._measuring.is_stale else latest.report

    def _copy(self) -> None:
        report = self.report
        if report is not None:
            QGuiApplication.clipboard().setText(report.as_table())
            self._desk.say(tr("The table is on the clipboard"))

    def _write(self, kind: str) -> None:
        report, case = self.report, self._desk.case
        if report is None or case is None:
            return
        name = f"{case.opened.case_id}-quantities.{kind}"
        folder = self._desk.window.store.current.files.save_folder
        start = str(Path(folder) / name) if folder else name
        question = FileQuestion(tr("Save quantities"), "save", ((kind.upper(), (f"*.{kind}",)),), start, f".{kind}")
        for path in self._desk.window.dialogs.choose_files(question)[:1]:
            self._desk.worker.submit(
                lambda task, path=path: write_report(report, path, kind),  # type: ignore[misc]
                rank=Rank.SAVE,
                done=lambda _, path=path: self._desk.say(tr("{name} was written").format(name=path.name)),  # type: ignore[misc]
                failed=lambda error: self._desk.window.dialogs.tell(tr("Not saved"), reason_of(error), tone="error"),
            )

    def _compare(self) -> None:
        folder = self._desk.window.store.current.files.open_folder
        question = FileQuestion(tr("Compare with a mask"), "open", ((tr("Masks"), MASKS),), folder)
        for path in self._desk.window.dialogs.choose_files(question)[:1]:
            self._measuring.compare_with(path)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "tree"):
            self.tree.fade(self._measuring.is_stale)


def write_report(report: QuantityReport, path: Path, kind: str) -> None:
    """As CSV or JSON, whole or not at all; numbers with a decimal point. Raises OutputError."""
    text = report.as_csv() if kind == "csv" else json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
