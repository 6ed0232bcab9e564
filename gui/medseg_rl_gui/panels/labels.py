"""The labels on the left: which there are, which is active, what is shown and what is locked, how opaque they are.

Emits what was meant to the engine, which makes one undo entry of it, and shows what came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QColorDialog, QHBoxLayout, QLabel, QSizePolicy, QSlider, QVBoxLayout, QWidget

from medseg_rl.labels import PALETTE
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.panels.label_rows import LabelRow, LabelRows, LabelTable, voxels_text
from medseg_rl_gui.panels.parts import grey
from medseg_rl_gui.panels.switches import ActionIcon, icon_button
from medseg_rl_gui.view_model import ViewModel
from medseg_rl_gui.voxel_counts import VoxelCounts

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller


class LabelsPanel(QWidget):
    """Table, buttons for the active label, and the opacity of all."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._desk, self._editing, self._views = controller.desk, controller.editing, controller.views
        self._window = controller.window
        self.counts = VoxelCounts(self._desk)
        self.rows = LabelRows()
        self.table = LabelTable(self.rows, lambda: self._window.views.active_view.canvas)
        self._build()
        self._lay_out()
        self._connect()
        self._show()

    def _build(self) -> None:
        acts = self._window.acts
        self.add, self.lock = ActionIcon(acts, "label.new"), ActionIcon(acts, "label.lock")
        self.rename = icon_button("rename", tr("Rename the active label"), self.table.edit_active)
        self.recolour = icon_button("colour", tr("Colour of the active label"), self._recolour_active)
        self.delete = icon_button("delete", tr("Delete the active label"), self._delete)
        self.overlay, self.outline = ActionIcon(acts, "view.overlay"), ActionIcon(acts, "view.outline")
        self.told = QLabel()
        self.told.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.told.setWordWrap(True)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setPageStep(10)
        self.opacity.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.opacity.setAccessibleName(tr("Opacity of labels"))
        self.percent = QLabel()
        self.percent.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(3)
        buttons, look = QHBoxLayout(), QHBoxLayout()
        for row in (buttons, look):
            row.setSpacing(2)
        for made in (self.add, self.rename, self.recolour, self.lock, self.delete):
            buttons.addWidget(made)
        buttons.addStretch(1)
        for made in (self.overlay, self.outline):
            look.addWidget(made)
        look.addWidget(self.opacity, 1)
        look.addWidget(self.percent)
        column.addLayout(buttons)
        column.addWidget(self.table, 1)
        column.addWidget(self.told)
        column.addLayout(look)

    def _connect(self) -> None:
        desk, table = self._desk, self.table
        desk.case_changed.connect(lambda _: self._show())
        desk.session_changed.connect(self._show)
        desk.view_changed.connect(self._show_look)
        self.counts.counted.connect(self._show)
        table.chosen.connect(self._activate)
        table.eye_pressed.connect(self._toggle_eye)
        table.lock_pressed.connect(self._toggle_lock)
        table.colour_pressed.connect(self._recolour)
        self.rows.renamed.connect(self._rename)
        self.opacity.valueChanged.connect(lambda percent: self._views.set_opacity(percent / 100))

    # --- what is meant ------------------------------------------------------------------------------------------------

    def _activate(self, value: int) -> None:
        self._editing.activate(value)
        self._show_active()  # it may have been refused

    def _toggle_eye(self, value: int) -> None:
        self._views.hide_label(value, value not in self._desk.view.overlay.hidden)

    def _toggle_lock(self, value: int) -> None:
        """Round: open, locked by hand, and, where another label is active, locked as usual."""
        session = self._desk.session
        is_other, label = value != session.active_label, session.labels[value]
        if label.locked:
            self._editing.set_lock(value, None if is_other else False)
        else:
            self._editing.set_lock(value, not session.labels.is_locked(value, active=session.active_label))

    def _rename(self, value: int, name: str) -> None:
        self._editing.rename_label(value, name)
        self._show()

    def _recolour_active(self) -> None:
        if self._desk.case is not None:
            self._recolour(self._desk.session.active_label)

    def _recolour(self, value: int) -> None:
        """Asks for another colour; those of the palette stand ready."""
        if self._desk.why_not():
            self._desk.say(self._desk.why_not())
            return
        label = self._desk.session.labels[value]
        dialog = QColorDialog(QColor(*label.colour), self._window)
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.setWindowTitle(tr("Colour of {name}").format(name=label.name))
        for place, colour in enumerate(PALETTE):
            QColorDialog.setCustomColor(place, QColor(*colour))
        if self._window.dialogs.run(dialog):
            chosen = dialog.currentColor()
            self._editing.recolour_label(value, (chosen.red(), chosen.green(), chosen.blue()))

    def _delete(self) -> None:
        """At once and without a question: it is one undo entry."""
        session = self._desk.session
        self._editing.delete_label(session.active_label)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        case = self._desk.case
        if case is None:
            self.rows.show((), may_edit=False)
            self.told.clear()
        else:
            self.rows.show(self._made(), may_edit=not self._desk.why_not())
            self._show_active()
        self._show_look(self._desk.view)
        self._grey()

    def _made(self) -> tuple[LabelRow, ...]:
        session, hidden = self._desk.session, self._desk.view.overlay.hidden
        active, image = session.active_label, session.image
        is_measured = not str(image.source.get("quantities", "")).startswith("disabled")
        rows = []
        for label in session.labels.labels:
            voxels = self.counts.of(label.value)
            locked = session.labels.is_locked(label.value, active=active)
            rows.append(
                LabelRow(
                    label.value,
                    label.name,
                    label.colour,
                    voxels,
                    None if voxels is None or not is_measured else voxels * image.voxel_volume / 1000,
                    "hand" if label.locked else "usual" if locked else "open",
                    label.value in hidden,
                    label.value == active,
                    label.layer,
                )
            )
        return tuple(rows)

    def _show_active(self) -> None:
        for place, row in enumerate(self.rows.rows):
            if row.active:
                self.table.show_active(place)
                self.told.setText(self._summary(row))

    def _summary(self, row: LabelRow) -> str:
        layers = max(label.layer for label in self._desk.session.labels.labels) + 1
        if layers == 1:
            return voxels_text(row)
        text = tr("{voxels}. Layer {n} of {layers}: labels overlap")
        return text.format(voxels=voxels_text(row), n=whole(row.layer + 1), layers=whole(layers))

    def _show_look(self, view: ViewModel) -> None:
        """Opacity and eyes follow the view, whoever changed it."""
        percent = round(100 * view.overlay.opacity)
        if self.opacity.value() != percent:
            self.opacity.blockSignals(True)
            self.opacity.setValue(percent)
            self.opacity.blockSignals(False)
        self.percent.setText(tr("{percent} %").format(percent=number(percent)))
        self.percent.setMinimumWidth(self.fontMetrics().horizontalAdvance(tr("{percent} %").format(percent="100")))
        if self._desk.case is not None and {row.value for row in self.rows.rows if row.hidden} != view.overlay.hidden:
            self.rows.show(self._made(), may_edit=self.rows.may_edit)

    def _grey(self) -> None:
        why = self._desk.why_not()
        grey(self.rename, why, tr("Rename the active label"))
        grey(self.recolour, why, tr("Colour of the active label"))
        grey(self.delete, why or self._why_not_delete(), tr("Delete the active label with its voxels and clicks"))
        grey(self.opacity, "" if self._desk.case is not None else why, tr("Opacity of labels"))

    def _why_not_delete(self) -> str:
        session = self._desk.session
        if session.proposal is not None:
            return tr("Accept or discard the proposal first")
        if session.labels[session.active_label].locked:
            return tr("The label is locked; open its lock before you delete it")
        return tr("It is the only label; add another before you delete it") if len(session.labels.labels) == 1 else ""

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange) and hasattr(self, "table"):
            self.table.take_letters()
