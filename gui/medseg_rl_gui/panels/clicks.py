"""The clicks on the left: which there are; selecting one goes there, deleting one is an undo entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QAbstractItemView, QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.panels.click_rows import ClickDelegate, ClickList, ClickRow, ClickRows
from medseg_rl_gui.panels.parts import Note, button, grey
from medseg_rl_gui.panels.switches import ActionIcon, NamedButton

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller


class ClicksPanel(QWidget):
    """List, buttons for the selected click, and the offer to refine again where one left the hints only."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller, self._desk = controller, controller.desk
        acts = controller.window.acts
        self.rows, self.list = ClickRows(), ClickList()
        self.go_there = button(tr("Go to"), self._go, icon_name="crosshair")
        self.delete = NamedButton(acts, "click.delete", tr("Delete"))
        self.sign = ActionIcon(acts, "click.polarity")
        self.left_out = Note("information")
        self.recompute = NamedButton(acts, "model.refine", tr("Recompute"))
        self._is_leading = False
        self._set_up_list()
        self._lay_out()
        self._desk.session_changed.connect(self._show)
        self._desk.case_changed.connect(lambda _: self._show())
        self._desk.view_changed.connect(lambda _: self._follow_selection())
        self._desk.settings_changed.connect(self._show_sign)
        self._show()
        self._show_sign()

    def _set_up_list(self) -> None:
        self.list.setModel(self.rows)
        self.list.setItemDelegate(ClickDelegate(self.list))
        self.list.setAccessibleName(tr("Clicks"))
        self.list.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard to the views
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setUniformItemSizes(True)
        self.list.setMinimumHeight(60)
        self.list.clicked.connect(lambda _: self._go())
        self.list.selectionModel().currentChanged.connect(self._led)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(3)
        buttons = QHBoxLayout()
        buttons.setSpacing(2)
        for made in (self.go_there, self.delete):
            buttons.addWidget(made)
        buttons.addStretch(1)
        buttons.addWidget(self.sign)
        column.addWidget(self.list, 1)
        column.addWidget(self.left_out)
        column.addWidget(self.recompute)
        column.addLayout(buttons)
        self.left_out.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)

    # --- what is meant ------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> ClickRow | None:
        """The click that is selected in the list."""
        index = self.list.currentIndex()
        return self.rows.rows[index.row()] if index.isValid() and index.row() < len(self.rows.rows) else None

    def _led(self, current: QModelIndex, _: QModelIndex) -> None:
        if not self._is_leading and current.isValid():
            self._go()

    def _go(self) -> None:
        """Marks the selected click and leads there. One of another label is only led to."""
        row = self.selected
        if row is not None:
            self._controller.select_click(row.number if row.is_active else None)
            self._desk.go_to(row.point_mm)
        self._grey()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        case, before = self._desk.case, self.selected
        if self.rows.show(() if case is None else self._made()):
            self._select(before)
        self._offer()
        self._grey()

    def _select(self, before: ClickRow | None) -> None:
        """The click that was selected, where it still is in the list; the newest is in sight."""
        self._is_leading = True
        chosen = None if self._desk.case is None else self._desk.case.selected_click
        for place, row in enumerate(self.rows.rows):
            is_same = before is not None and (row.label, row.point_mm) == (before.label, before.point_mm)
            if (row.is_active and row.number == chosen) or (chosen is None and is_same and not row.is_active):
                self.list.setCurrentIndex(self.rows.index(place))
        count = sum(row.is_active for row in self.rows.rows)
        if self.selected is None and count:
            self.list.scrollTo(self.rows.index(count - 1))
        self._is_leading = False

    def _follow_selection(self) -> None:
        """A click was chosen elsewhere, or is no more."""
        case, row = self._desk.case, self.selected
        shown = row.number if row is not None and row.is_active else None
        if case is not None and case.selected_click is not None and case.selected_click != shown:
            self._select(None)
            self._grey()

    def _made(self) -> tuple[ClickRow, ...]:
        session = self._desk.session
        active, every = session.active_label, session.clicks_by_label
        order = [active, *(value for value in session.labels.values if value != active)]
        proposal = session.proposal
        rows = []
        for value in order:
            clicks = every.get(value, ())
            open_clicks = proposal.clicks if proposal is not None and proposal.label == value else 0
            settled = len(clicks) - open_clicks
            rows += [self._row(value, n, click, settled=n < settled) for n, click in enumerate(clicks)]
        return tuple(rows)

    def _row(self, value: int, number: int, click: Click, *, settled: bool) -> ClickRow:
        session = self._desk.session
        x, y, z = (float(v) for v in session.image.index_to_world(click.index))
        return ClickRow(
            value,
            session.labels[value].name,
            number,
            click.label == ClickLabel.FOREGROUND,
            (x, y, z),
            self._desk.view.geometry("axial").slice_at((x, y, z)) + 1,
            settled,
            value == session.active_label,
        )

    def _offer(self) -> None:
        """An accepted click that was deleted left the hints, not the mask: refining again would use that."""
        case = self._desk.case
        newest = case.session.history.done[-1:] if case is not None else ()
        is_offered = bool(newest) and newest[0].action == "delete_click" and not newest[0].deltas
        said = tr("The click left the list, the mask stayed. Recompute refines it with the clicks that are left.")
        self.left_out.say(said if is_offered else "")
        self.recompute.setVisible(is_offered)

    def _show_sign(self) -> None:
        adds, removes = tr("The next click adds"), tr("The next click removes")
        self.sign.setAccessibleDescription(adds if self._desk.positive else removes)

    def _grey(self) -> None:
        row = self.selected
        why = "" if row is not None else tr("Select a click in the list first")
        grey(self.go_there, why, tr("Bring the crosshair to the selected click"))
        if row is not None and not row.is_active:
            text = tr("It is a click of {label}: make that the active label first")
            self._desk.window.acts.set_reason("click.delete", text.format(label=row.label_name))
