"""The exact operations on the active label: islands, holes, smoothing, margin, slices, other labels, growing.

Each button hands one operation of `medseg_rl.editing` to the engine: one undo entry. "Exact", because the model has
commands of the same names, which stand in the Learn tab.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QPushButton

from medseg_rl.editing import (
    Combine,
    CopySlice,
    FillHoles,
    GrowRegion,
    Interpolate,
    Islands,
    Margin,
    Operation,
    Smooth,
    SplitIslands,
)
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.panels.parts import ActionButton, ButtonGrid, ChoiceBox, NumberBox, Section, button, grey, words
from medseg_rl_gui.panels.switches import NamedButton, Rows
from medseg_rl_gui.slice_geometry import Plane, Point

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller

LARGEST_MM3, LARGEST_MM = 1e6, 100.0


class ExactSections:
    """`sections`: one below the other. Buttons are greyed, each with its reason, together."""

    def __init__(self, controller: Controller) -> None:
        self._desk, self._editing = controller.desk, controller.editing
        self._acts, self._views = controller.window.acts, controller.window.views
        self._greyed: list[tuple[QPushButton, str, Callable[[], str]]] = []
        self.sections = (self._islands(), self._shape(), self._slices(), self._labels(), self._grow())
        desk = self._desk
        for signal in (desk.session_changed, desk.settings_changed):
            signal.connect(self._grey)
        desk.case_changed.connect(lambda _: self._grey())
        self._grey()

    # --- the sections -------------------------------------------------------------------------------------------------

    def _islands(self) -> Section:
        section = Section(tr("Islands (exact)"))
        self.largest = NamedButton(self._acts, "edit.islands", tr("Keep largest"), key=True)
        self.keep = self._made(tr("Keep the one here"), lambda: Islands("keep_clicked", self._here), self._why_here)
        self.remove = self._made(
            tr("Remove the one here"), lambda: Islands("remove_clicked", self._here), self._why_here
        )
        self.small = NumberBox(tr("Smallest island"), 0.1, LARGEST_MM3, 10.0, decimals=1, suffix=tr(" mm³"))
        self.drop = self._made(tr("Remove smaller"), lambda: Islands("remove_small", volume_mm3=self.small.value()))
        self.split = self._made(tr("Split into labels"), lambda: SplitIslands(self.small.value()))
        rows = Rows()
        rows.add(tr("Smaller than"), self.small)
        section.column.addWidget(ButtonGrid([self.largest, self.keep, self.remove]))
        section.column.addWidget(rows)
        section.column.addWidget(ButtonGrid([self.drop, self.split]))
        section.column.addWidget(words(tr("Here: at the crosshair. Splitting leaves smaller ones."), faint=True))
        return section

    def _shape(self) -> Section:
        section = Section(tr("Shape (exact)"))
        self.fill = ActionButton(self._acts, "edit.fill_holes")
        self.fill_slices = self._made(tr("Fill in each slice"), lambda: FillHoles(self._plane))
        self.kernel = NumberBox(tr("Radius of smoothing"), 0.1, LARGEST_MM, 2.0, decimals=1, suffix=tr(" mm"))
        self.median = self._made(tr("Median"), lambda: Smooth("median", self.kernel.value()))
        self.opening = self._made(tr("Opening"), lambda: Smooth("opening", self.kernel.value()))
        self.closing = self._made(tr("Closing"), lambda: Smooth("closing", self.kernel.value()))
        self.margin = NumberBox(tr("Margin"), 0.1, LARGEST_MM, 2.0, decimals=1, suffix=tr(" mm"))
        self.grown = self._made(tr("Grow"), lambda: Margin(self.margin.value()))
        self.shrunk = self._made(tr("Shrink"), lambda: Margin(-self.margin.value()))
        smooth, margin = Rows(), Rows()
        smooth.add(tr("Smooth by"), self.kernel)
        margin.add(tr("Margin"), self.margin)
        section.column.addWidget(ButtonGrid([self.fill, self.fill_slices]))
        section.column.addWidget(smooth)
        section.column.addWidget(ButtonGrid([self.median, self.opening, self.closing], columns=3))
        section.column.addWidget(margin)
        section.column.addWidget(ButtonGrid([self.grown, self.shrunk]))
        return section

    def _slices(self) -> Section:
        section = Section(tr("Slices (exact)"))
        self.interpolate = self._made(tr("Interpolate"), lambda: Interpolate(self._plane))
        self.copy_up = self._made(tr("Copy to next"), lambda: CopySlice(self._here, self._plane, 1), self._why_here)
        self.copy_down = self._made(
            tr("Copy to previous"), lambda: CopySlice(self._here, self._plane, -1), self._why_here
        )
        self.planes = words(faint=True)
        section.column.addWidget(ButtonGrid([self.interpolate, self.copy_up, self.copy_down]))
        section.column.addWidget(self.planes)
        self.planes.setText(tr("In the plane of the view used last. Interpolation is a proposal first."))
        return section

    def _labels(self) -> Section:
        section = Section(tr("With another label (exact)"))
        self.other = ChoiceBox(tr("Other label"))
        self.other.setSizeAdjustPolicy(ChoiceBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.other.setMinimumContentsLength(8)
        rows = Rows()
        rows.add(tr("Other"), self.other)
        self.union = self._made(tr("Union"), lambda: Combine("union", self._other), self._why_other, needs_mask=False)
        self.common = self._made(tr("Intersection"), lambda: Combine("intersection", self._other), self._why_other)
        self.minus = self._made(tr("Difference"), lambda: Combine("difference", self._other), self._why_other)
        section.column.addWidget(rows)
        section.column.addWidget(ButtonGrid([self.union, self.common, self.minus], columns=3))
        text = tr(
            "For a union the other label gives voxels only if its lock is open and it may be replaced or overlap."
        )
        section.column.addWidget(words(text, faint=True))
        return section

    def _grow(self) -> Section:
        section = Section(tr("Grow from here (exact)"))
        self.reach = NumberBox(tr("No farther than"), 0.2, LARGEST_MM, 50.0, decimals=1, suffix=tr(" mm"))
        self.seed = self._made(tr("Grow within threshold"), self._region, self._why_grow, needs_mask=False)
        rows = Rows()
        rows.add(tr("No farther than"), self.reach)
        section.column.addWidget(rows)
        section.column.addWidget(ButtonGrid([self.seed]))
        return section

    def _region(self) -> Operation:
        threshold = self._desk.tools.threshold
        assert threshold is not None, "the button is greyed without one"
        return GrowRegion(self._here, threshold, self.reach.value())

    # --- what they work on --------------------------------------------------------------------------------------------

    @property
    def _plane(self) -> Plane:
        return self._views.active_view.plane

    @property
    def _here(self) -> Point:
        return self._desk.view.crosshair or (0.0, 0.0, 0.0)

    @property
    def _other(self) -> int:
        return int(self.other.currentData())

    def _made(
        self,
        text: str,
        operation: Callable[[], Operation],
        why: Callable[[], str] | None = None,
        *,
        needs_mask: bool = True,
    ) -> QPushButton:
        """A button that runs an operation on the active label; `why`: what more it takes."""
        made = button(text, partial(self._run, operation))
        reasons = [self._why_empty] if needs_mask else []
        reasons += [why] if why is not None else []
        self._greyed.append((made, text, lambda: next((said for said in (r() for r in reasons) if said), "")))
        return made

    def _run(self, operation: Callable[[], Operation]) -> None:
        self._editing.run(operation())

    # --- why not ------------------------------------------------------------------------------------------------------

    def _why_empty(self) -> str:
        return "" if self._desk.session.mask_box is not None else tr("The active label is still empty")

    def _why_here(self) -> str:
        return "" if self._desk.view.crosshair is not None else tr("There is no crosshair")

    def _why_other(self) -> str:
        return "" if self.other.currentData() is not None else tr("There is no other label")

    def _why_grow(self) -> str:
        none = tr("Turn the threshold mask on first: growing needs its intensities")
        return none if self._desk.tools.threshold is None else self._why_here()

    def _grey(self) -> None:
        self._list_others()
        why = self._desk.why_not() or self._why_locked()
        for made, text, more in self._greyed:
            grey(made, why or more(), text)

    def _why_locked(self) -> str:
        session = self._desk.session
        label = session.labels[session.active_label]
        return tr("{name} is locked; open its lock first").format(name=label.name) if label.locked else ""

    def _list_others(self) -> None:
        before, case = self.other.currentData(), self._desk.case
        labels = () if case is None else case.session.labels.labels
        self.other.clear()
        for label in labels:
            if case is not None and label.value != case.session.active_label:
                self.other.addItem(label.name, label.value)
        self.other.setCurrentIndex(max(0, self.other.findData(before)) if self.other.count() else -1)
        grey(self.other, "" if self.other.count() else tr("There is no other label"), tr("The label to combine with"))
