"""Which model refines: the bundles on this computer, what each was trained on, and warnings for the open image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox

from medseg_rl.bundle import Bundle
from medseg_rl.errors import MedSegError
from medseg_rl_gui.dialogs import FileQuestion
from medseg_rl_gui.i18n import number, tr
from medseg_rl_gui.panels.parts import ButtonGrid, ChoiceBox, Note, Section, button, grey, words
from medseg_rl_gui.worker import reason_of

if TYPE_CHECKING:
    from medseg_rl_gui.controller import Controller

HASH_DIGITS = 12


class ModelSection(Section):
    """The choice is kept for the cases to come; "best fit" takes the bundle with the fewest warnings."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(tr("Model"))
        self._desk, self._window, self._models = controller.desk, controller.window, controller.models
        self.box = ChoiceBox(tr("Model"))
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.setMinimumContentsLength(12)
        self.warnings, self.facts, self.unusable = Note("warning"), words(faint=True), words(faint=True)
        self.facts.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.facts.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.add = button(tr("Add model…"), self._add, icon_name="folder", tip=tr("A model, by its folder"))
        for widget in (self.box, self.warnings, self.facts, self.unusable, ButtonGrid([self.add])):
            self.column.addWidget(widget)
        self.box.activated.connect(lambda _: self._choose())
        self._desk.settings_changed.connect(self._list)
        self._desk.case_changed.connect(lambda _: self._list())
        self._list()

    # --- what is meant ------------------------------------------------------------------------------------------------

    def _choose(self) -> None:
        preferences = self._window.store.current
        self._window.show_preferences(preferences.changing("model", bundle=self.box.currentData()))
        self._list()

    def _add(self) -> None:
        """Lists a folder and takes it."""
        for folder in self._window.dialogs.choose_files(FileQuestion(tr("Folder of a model"), "folder"))[:1]:
            try:
                bundle = self._models.add(folder)
            except MedSegError as error:
                self._window.dialogs.tell(tr("Not a model"), reason_of(error), tone="error")
                return
            preferences = self._window.store.current
            self._window.show_preferences(preferences.changing("model", bundle=str(bundle.folder)))
            self._list()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _list(self) -> None:
        image = self._desk.view.image
        used = None if image is None else self._models.fitting(image)
        self.box.clear()
        self.box.addItem(tr("Best fit for each image"), "")
        chosen = 0
        for entry in self._models.listed:
            if entry.bundle is None:
                continue
            bundle = entry.bundle
            self.box.addItem(f"{bundle.name} {bundle.version}", str(bundle.folder))
            self.box.setItemData(self.box.count() - 1, about(bundle), Qt.ItemDataRole.ToolTipRole)
            if self._models.wanted and self._models.wanted in (bundle.name, bundle.folder.name, str(bundle.folder)):
                chosen = self.box.count() - 1
        self.box.setCurrentIndex(chosen)
        grey(self.box, "" if self.box.count() > 1 else tr("There is no model on this computer; add one"))
        self._tell(used)

    def _tell(self, used: Bundle | None) -> None:
        image = self._desk.view.image
        if used is not None:
            self.facts.setText(about(used))
        else:
            none = tr("There is no model on this computer. Viewing and all edits by hand work without one.")
            self.facts.setText("" if image is None and self.box.count() > 1 else none)
        said = () if image is None else self._models.warnings(image)
        self.warnings.say("\n".join(warning[:1].upper() + warning[1:] for warning in said))
        broken = [
            tr("{name} cannot be used: {why}").format(name=entry.name, why=entry.problem)
            for entry in self._models.listed
            if entry.bundle is None
        ]
        self.unusable.setText("\n".join(broken))
        self.unusable.setVisible(bool(broken))


def about(bundle: Bundle) -> str:
    """Name, version, what it does, licence, modality, spacing and hash of a bundle, in lines."""
    ours: Mapping[str, Any] = bundle.metadata.get("medseg_rl") or {}
    abilities = [tr("refines")] if bundle.has_agent else []
    abilities += [tr("starts by itself")] if bundle.has_automatic else []
    licence = str(bundle.metadata.get("license") or tr("not stated"))
    lines = [
        f"{bundle.name} {bundle.version}: {', '.join(abilities)}",
        tr("Licence: {licence}").format(licence=licence),
        tr("Trained on: {modalities}, voxels of {spacing}").format(
            modalities=", ".join(ours.get("modalities") or [tr("any modality")]),
            spacing=_spacing(ours.get("spacing_range_mm")),
        ),
        tr("Hash: {hash}").format(hash=bundle.hash[:HASH_DIGITS]),
    ]
    return "\n".join(lines)


def _spacing(given: Any) -> str:
    low, high = given or (0.0, None)
    if high is None:
        return tr("any size") if not low else tr("{low} mm and more").format(low=number(low, 2))
    if round(low, 2) == round(high, 2):
        return tr("{low} mm").format(low=number(low, 2))
    return tr("{low} to {high} mm").format(low=number(low, 2), high=number(high, 2))
