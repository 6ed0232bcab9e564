"""Asks what is exported and how: format, labels, whose name goes along. Writes nothing."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QIcon, QPixmap, QStandardItemModel
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QGroupBox,
    QHeaderView,
    QLabel,
    QRadioButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_rl.session.session_file import NOTICE
from medseg_rl_gui.exporting.formats import BY_ID, FORMATS, Exportable, ExportChoices, Format, problem_with, stored_as
from medseg_rl_gui.i18n import mark, number, tr, whole

COLUMNS = (mark("Label"), mark("Voxels"), mark("In the file"))
USUAL_TRIANGLES = 150_000


class ExportDialog(QDialog):
    """`choices`: what was chosen, as it stands."""

    def __init__(self, exportable: Exportable, preferred: str = "seg", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Export labels"))
        self.resize(600, 560)
        self._exportable = exportable
        self._overlaps: dict[tuple[int, ...], int] = {}
        self.formats = self._made_formats()
        self.note = _wrapped()
        self.table = self._made_table()
        self.identity = self._made_identity()
        self.surface = self._made_surface()
        self.flatten = QCheckBox()
        self.flatten.toggled.connect(self._show)
        self.orthonormalise = QCheckBox()
        self.orthonormalise.toggled.connect(self._show)
        self.problem = _wrapped()
        self.buttons = self._made_buttons()
        self._lay_out()
        self.choose_format(preferred if not exportable.why_not(BY_ID[preferred]) else self._first_possible())

    # --- what is chosen -----------------------------------------------------------------------------------------------

    @property
    def format(self) -> Format:
        """The chosen one."""
        return BY_ID[str(self.formats.currentData())]

    @property
    def values(self) -> tuple[int, ...]:
        """Values of the ticked labels."""
        rows = range(self.table.rowCount())
        ticked = [row for row in rows if self._item(row).checkState() == Qt.CheckState.Checked]
        return tuple(int(self._item(row).data(Qt.ItemDataRole.UserRole)) for row in ticked)

    @property
    def choices(self) -> ExportChoices:
        """All of it."""
        return ExportChoices(
            self.format,
            self.values,
            deidentified=self.deidentified.isChecked(),
            flatten=self.flatten.isChecked() and self.flatten.isVisibleTo(self),
            orthonormalise=self.orthonormalise.isChecked() and self.orthonormalise.isVisibleTo(self),
            smoothing_passes=self.smoothing.value(),
            triangles=self.triangles.value() if self.thin.isChecked() else 0,
        )

    def choose_format(self, id_: str) -> None:
        """As if the user had."""
        self.formats.setCurrentIndex(self.formats.findData(id_))
        self._show()

    def tick(self, value: int, on: bool) -> None:
        """Ticks a label or takes the tick away."""
        for row in range(self.table.rowCount()):
            if self._item(row).data(Qt.ItemDataRole.UserRole) == value:
                self._item(row).setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    # --- parts --------------------------------------------------------------------------------------------------------

    def _made_formats(self) -> QComboBox:
        box = QComboBox()
        box.setAccessibleName(tr("Format"))
        for format_ in FORMATS:
            box.addItem(f"{tr(format_.text)}  ({format_.ending})", format_.id)
        model = box.model()
        assert isinstance(model, QStandardItemModel)
        for row, format_ in enumerate(FORMATS):
            why = self._exportable.why_not(format_)
            model.item(row).setEnabled(not why)
            model.item(row).setToolTip(why)
        box.currentIndexChanged.connect(self._show)
        return box

    def _made_table(self) -> QTableWidget:
        labels = self._exportable.labels or self._exportable.segmentation.labels.labels
        table = QTableWidget(len(labels), len(COLUMNS))
        table.setHorizontalHeaderLabels([tr(text) for text in COLUMNS])
        table.verticalHeader().hide()
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setTabKeyNavigation(False)
        table.setAccessibleName(tr("Labels to export"))
        for row, label in enumerate(labels):
            name = QTableWidgetItem(_swatch(label.colour), label.name)
            name.setFlags(name.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            name.setCheckState(Qt.CheckState.Checked)
            name.setData(Qt.ItemDataRole.UserRole, label.value)
            voxels = QTableWidgetItem(whole(self._exportable.segmentation.voxels[label.value]))
            voxels.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, item in enumerate((name, voxels, QTableWidgetItem())):
                table.setItem(row, column, item)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.itemChanged.connect(lambda item: self._show() if item.column() == 0 else None)
        return table

    def _made_identity(self) -> QGroupBox:
        box = QGroupBox(tr("Patient"))
        self.deidentified = QRadioButton(tr("De-identified"))
        self.deidentified.setChecked(True)
        self.archive = QRadioButton(tr("For my archive"))
        layout = QVBoxLayout(box)
        kept = tr("Name, ID, birth date, accession, institution and free text are left out; image references are kept.")
        copied = tr("The patient's name, ID and dates are copied from the image.")
        for button, said in ((self.deidentified, kept), (self.archive, copied)):
            layout.addWidget(button)
            layout.addWidget(_wrapped(said, indent=22))
        return box

    def _made_surface(self) -> QGroupBox:
        box = QGroupBox(tr("Surface"))
        self.smoothing = QSpinBox()
        self.smoothing.setRange(0, 100)
        self.smoothing.setSpecialValueText(tr("none"))
        self.smoothing.setAccessibleName(tr("Smoothing passes"))
        self.thin = QCheckBox(tr("At most so many triangles"))
        self.thin.setChecked(True)
        self.triangles = QSpinBox()
        self.triangles.setRange(100, 10_000_000)
        self.triangles.setValue(USUAL_TRIANGLES)
        self.triangles.setGroupSeparatorShown(True)
        self.triangles.setAccessibleName(tr("Most triangles a surface"))
        self.thin.toggled.connect(self.triangles.setEnabled)
        self.triangles.setToolTip(tr("As many as the tick box beside it allows"))
        layout = QFormLayout(box)
        layout.addRow(tr("Smoothing passes"), self.smoothing)
        layout.addRow(self.thin, self.triangles)
        return box

    def _made_buttons(self) -> QDialogButtonBox:
        kinds = QDialogButtonBox.StandardButton
        buttons = QDialogButtonBox(kinds.Ok | kinds.Cancel)
        buttons.button(kinds.Ok).setText(tr("Export…"))
        buttons.button(kinds.Cancel).setText(tr("Cancel"))
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        return buttons

    def _lay_out(self) -> None:
        layout, form = QVBoxLayout(self), QFormLayout()
        form.addRow(tr("Format"), self.formats)
        layout.addLayout(form)
        layout.addWidget(self.note)
        layout.addWidget(self.table, 1)
        for widget in (self.flatten, self.orthonormalise, self.identity, self.surface, self.problem):
            layout.addWidget(widget)
        layout.addWidget(_wrapped(tr(NOTICE)))
        layout.addWidget(self.buttons)

    # --- showing ------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """What the chosen format asks for, and whether it can be written."""
        format_, values, shift = self.format, self.values, self._exportable.shear_shift_mm
        overlap = self._overlap(values)
        self.note.setText(tr(format_.note))
        self.identity.setVisible(format_.family == "dicom")
        self.surface.setVisible(format_.family == "mesh")
        can_flatten = bool(overlap) and not format_.overlap and format_.family in ("map", "dicom")
        self.flatten.setVisible(can_flatten)
        text = tr("{n} voxels lie in more than one label: the later label of the list gets them")
        self.flatten.setText(text.format(n=whole(overlap)))
        self.orthonormalise.setVisible(format_.id == "mha" and shift > 0)
        text = tr("Make the sheared axes right-angled, which moves a corner by {mm} mm")
        self.orthonormalise.setText(text.format(mm=number(shift, 2)))
        self._name_values(format_, values)
        why = problem_with(self.choices, overlap, shift)
        self.problem.setText(why)
        self.problem.setVisible(bool(why))
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(not why)

    def _name_values(self, format_: Format, values: tuple[int, ...]) -> None:
        said = dict(zip(values, stored_as(format_, values), strict=True))
        for row in range(self.table.rowCount()):
            item = self.table.item(row, 2)
            if item is not None:
                item.setText(said.get(int(self._item(row).data(Qt.ItemDataRole.UserRole)), tr("left out")))

    def _overlap(self, values: tuple[int, ...]) -> int:
        if values not in self._overlaps:
            self._overlaps[values] = self._exportable.overlap_of(values)
        return self._overlaps[values]

    def _item(self, row: int) -> QTableWidgetItem:
        item = self.table.item(row, 0)
        assert item is not None
        return item

    def _first_possible(self) -> str:
        return next(format_.id for format_ in FORMATS if not self._exportable.why_not(format_))


def _swatch(colour: tuple[int, int, int]) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(*colour))
    return QIcon(pixmap)


def _wrapped(text: str = "", indent: int = 0) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setContentsMargins(indent, 0, 0, 0)
    return label
