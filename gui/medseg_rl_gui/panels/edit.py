"""The Edit tab: how the tools draw, what a write does to other labels, and the exact operations below.

Sets the tools of the engine and shows how they are set, whoever set them. Draws and writes nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from medseg_rl.editing import Threshold
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.panels.edit_exact import ExactSections
from medseg_rl_gui.panels.parts import ButtonGrid, ChoiceBox, NumberBox, Section, button, grey, words
from medseg_rl_gui.panels.switches import ActionIcon, Rows, side_by_side, tick
from medseg_rl_gui.tools import LARGEST_MM, SMALLEST_MM

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller

LARGEST_VALUE = 1e6  # of an intensity that can be entered
TOOLS = ("point", "brush", "eraser", "scribble", "box", "lasso")


class EditPanel(QWidget):
    """Tool options first, then what is done at once."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.tools = ToolSection(controller)
        self.threshold = ThresholdSection(controller)
        self.exact = ExactSections(controller)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        for section in (self.tools, self.threshold, *self.exact.sections):
            column.addWidget(section)
        column.addStretch(1)


class ToolSection(Section):
    """Tool, sign, brush, box and lasso, overwrite policy."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Tools"))
        self._desk, self._editing, self._window = controller.desk, controller.editing, controller.window
        acts = self._window.acts
        self.icons = [ActionIcon(acts, f"tool.{tool}") for tool in TOOLS]
        self.sign = ActionIcon(acts, "click.polarity")
        self.adds = words()
        self.radius = NumberBox(tr("Brush radius"), SMALLEST_MM, LARGEST_MM, 4.0, decimals=1, suffix=tr(" mm"))
        self.radius.setSingleStep(0.5)
        self.shape = _choice(tr("Shape of the brush"), (tr("Disc in slice"), False), (tr("Ball"), True))
        limit, fill = tr("Limits model"), tr("Is filled")
        self.box_use = _choice(tr("What a box does"), (limit, "limit"), (fill, "fill"))
        self.overwrite = _choice(
            tr("Where another label lies"),
            (tr("Keep other"), "keep"),
            (tr("Replace other"), "replace"),
            (tr("Overlap"), "overlap"),
        )
        self.reach = _choice(tr("Slices of box and lasso"), (tr("This slice"), False), (tr("From – to"), True))
        self.first = NumberBox(tr("First slice"), 1, 1, 1)
        self.last = NumberBox(tr("Last slice"), 1, 1, 1)
        self.keys = words(faint=True)
        self._lay_out()
        self._connect()
        self._show()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setSpacing(2)
        for made in (*self.icons, self.sign):
            row.addWidget(made)
        row.addWidget(self.adds, 1)
        rows = Rows()
        rows.add(tr("Brush"), self.radius)
        rows.add("", self.shape)
        rows.add(tr("Box"), self.box_use)
        rows.add(tr("Box, lasso"), self.reach)
        rows.add("", side_by_side(self.first, QLabel("–"), self.last))
        rows.add(tr("Over others"), self.overwrite)
        self.column.addLayout(row)
        self.column.addWidget(rows)
        self.column.addWidget(self.keys)

    def _connect(self) -> None:
        desk = self._desk
        desk.settings_changed.connect(self._show)
        desk.case_changed.connect(lambda _: self._show())
        desk.view_changed.connect(lambda _: self._show_slices())
        self.radius.valueChanged.connect(lambda mm: desk.set_tools(radius_mm=round(mm, 1)))
        self.shape.activated.connect(lambda _: desk.set_tools(sphere=bool(self.shape.currentData())))
        self.box_use.activated.connect(lambda _: desk.set_tools(box_use=self.box_use.currentData()))
        self.overwrite.activated.connect(self._set_overwrite)
        self.reach.activated.connect(lambda _: self._set_slices(fresh=True))
        for number_ in (self.first, self.last):
            number_.valueChanged.connect(lambda _: self._set_slices())

    # --- what is meant ------------------------------------------------------------------------------------------------

    def _set_overwrite(self, _: int) -> None:
        if self._desk.case is not None:
            self._editing.set_overwrite(self.overwrite.currentData())

    def _set_slices(self, *, fresh: bool = False) -> None:
        """The range from one number to the other, counted from 1 as the views do; around the slice shown at first."""
        if not self.reach.currentData():
            self._desk.set_tools(slices=None)
            return
        if fresh and self._desk.view.image is not None:
            here = self._desk.view.slices[self._window.views.active_view.plane] + 1
            for number_ in (self.first, self.last):
                _put(number_, here)
        low, high = sorted((int(self.first.value()), int(self.last.value())))
        self._desk.set_tools(slices=(low - 1, high - 1))

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        tools, case = self._desk.tools, self._desk.case
        _put(self.radius, tools.radius_mm)
        _lead(self.shape, tools.sphere)
        _lead(self.box_use, tools.box_use)
        _lead(self.reach, tools.slices is not None)
        if tools.slices is not None:
            self._show_slices()
            _put(self.first, tools.slices[0] + 1)
            _put(self.last, tools.slices[1] + 1)
        _lead(self.overwrite, self._window.store.current.edit.overwrite if case is None else case.session.overwrite)
        adds, removes = tr("adds"), tr("removes")
        self.adds.setText(adds if self._desk.positive else removes)
        self._show_keys()
        self._grey()

    def _show_slices(self) -> None:
        """The range is that of the largest plane: what is drawn in another is held inside its own."""
        view = self._desk.view
        most = 1 if view.image is None else max(view.image.shape)
        for number_ in (self.first, self.last):
            number_.blockSignals(True)
            number_.setRange(1, most)
            number_.blockSignals(False)

    def _show_keys(self) -> None:
        keys = self._window.acts.keys_text
        text = tr("Radius: {smaller} {larger}. Lasso: {close} closes, {back} takes a point back, {clear} clears.")
        self.keys.setText(
            text.format(
                smaller=keys("brush.smaller"),
                larger=keys("brush.larger"),
                close=keys("lasso.close"),
                back=keys("lasso.back"),
                clear=keys("lasso.clear"),
            )
        )

    def _grey(self) -> None:
        why = self._desk.why_not()
        one = tr("On the slice that is drawn on")
        for number_, usual in ((self.first, tr("First slice")), (self.last, tr("Last slice"))):
            grey(number_, one if self._desk.tools.slices is None else "", usual)
        grey(self.overwrite, why, tr("What a write does where another label lies whose lock is open"))


class ThresholdSection(Section):
    """The intensities that brush, lasso, box and grow may write on."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Threshold mask"))
        self._desk = controller.desk
        self.on = tick(tr("Write only within"), self._set, tip=tr("For brush, lasso, box and grow"))
        self.low = NumberBox(tr("Lowest intensity"), -LARGEST_VALUE, LARGEST_VALUE, 0, decimals=1)
        self.high = NumberBox(tr("Highest intensity"), -LARGEST_VALUE, LARGEST_VALUE, 100, decimals=1)
        self.inverted = tick(tr("Outside of it instead"), self._set)
        self.from_window = button(tr("As the grey levels show"), self._take_window, icon_name="window")
        rows = Rows()
        rows.add(tr("From"), self.low)
        rows.add(tr("To"), self.high)
        for widget in (self.on, rows, self.inverted, ButtonGrid([self.from_window])):
            self.column.addWidget(widget)
        for number_ in (self.low, self.high):
            number_.setSingleStep(10)
            number_.valueChanged.connect(lambda _: self._set())
        self._desk.settings_changed.connect(self._show)
        self._desk.case_changed.connect(self._another)
        self._show()

    def _set(self, _: object = None) -> None:
        if not self.on.isChecked():
            self._desk.set_tools(threshold=None)
            return
        low, high = sorted((self.low.value(), self.high.value()))
        self._desk.set_tools(threshold=Threshold(low, high, self.inverted.isChecked()))

    def _take_window(self) -> None:
        """From black to white of the brightness and contrast that are shown."""
        window = self._desk.view.window
        _put(self.low, window.level - window.width / 2)
        _put(self.high, window.level + window.width / 2)
        self.on.setChecked(True)
        self._set()

    def _another(self, case: object) -> None:
        """Another image has other intensities."""
        if case is not None and self._desk.tools.threshold is not None:
            self._desk.set_tools(threshold=None)
        self._show()

    def _show(self) -> None:
        threshold = self._desk.tools.threshold
        self.on.setChecked(threshold is not None)
        if threshold is not None:
            _put(self.low, threshold.low or 0.0)
            _put(self.high, threshold.high or 0.0)
            self.inverted.setChecked(threshold.inverted)
        why = "" if threshold is not None else tr("Turn the threshold on first")
        for widget in (self.low, self.high, self.inverted):
            grey(widget, why, widget.accessibleName())
        grey(self.from_window, "" if self._desk.case is not None else tr("Open an image first"))


def _choice(name: str, *entries: tuple[str, object]) -> ChoiceBox:
    made = ChoiceBox(name)
    made.setSizeAdjustPolicy(ChoiceBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    made.setMinimumContentsLength(8)
    for text, data in entries:
        made.addItem(text, data)
    return made


def _lead(box: ChoiceBox, data: object) -> None:
    """Shows an entry; asks for nothing, since only the user's own choice does."""
    box.setCurrentIndex(max(0, box.findData(data)))


def _put(box: NumberBox, value: float) -> None:
    """Shows a number; asks for nothing."""
    if box.value() != value:
        box.blockSignals(True)
        box.setValue(value)
        box.blockSignals(False)
