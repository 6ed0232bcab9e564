"""The Quantities tab on a real session: numbers of the library, flags, plots that follow, files, the comparison."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from medseg_rl.imageio import write_volume
from medseg_rl.labels import LabelMap
from medseg_rl.quantities import Quantity, quantities_of
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Volume
from medseg_rl_gui.dialogs import ScriptedDialogs
from medseg_rl_gui.measuring import histogram, matched, plots_of, slice_areas
from medseg_rl_gui.panels.plots import AreaPlot, HistogramPlot
from medseg_rl_gui.panels.quantity_table import shown
from tests.gui.panel_cases import AFFINE, SHAPE, BallModels, Panels, ct

BOX = (slice(10, 20), slice(8, 14), slice(4, 9))  # 10 x 6 x 5 voxels of 1 x 1 x 2 mm


def box_labels(where=BOX, value=1) -> Segmentation:
    array = np.zeros(SHAPE, np.uint8)
    array[where] = value
    return Segmentation.of_label_map(Volume(array, AFFINE))


@pytest.fixture
def make(tmp_path: Path, dialogs: ScriptedDialogs, show: Callable[..., QWidget]) -> Iterator[Callable[..., Panels]]:
    made: list[Panels] = []

    def do(labels: Segmentation | None = None, image: Volume | None = None) -> Panels:
        panels = Panels(dialogs, BallModels(), tmp_path, FeedbackStore(tmp_path / "feedback"))
        made.append(panels)
        show(panels.window, (1280, 800))
        panels.window.right.open("quantities")
        panels.open(image, labels if labels is not None else box_labels())
        measured(panels)
        return panels

    yield do
    for panels in made:
        panels.close()


def measured(panels: Panels) -> None:
    measuring = panels.controller.measuring
    panels.wait(lambda: measuring.latest is not None and not measuring.is_stale and not measuring.is_busy)
    panels.idle()


def value_of(panels: Panels, key: str, label: int = 1) -> str:
    table = panels.panel("quantities").tree
    assert table.choose((label, key)), key
    return table.currentItem().text(1)


# --- numbers for a person ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (4405, "", "4,405"),
        (4405.0, "mm3", "4,405 mm³"),
        (12345.678, "mm2", "12,346 mm²"),
        (3.82831, "mL", "3.828 mL"),
        (0.0123456, "mL", "0.01235 mL"),
        (0.0, "", "0"),
        (-49.671, "%", "-49.67 %"),
    ],
)
def test_numbers_are_short_and_have_their_unit(qapp, value, unit, text):
    assert shown(Quantity("k", "name", value, unit, "method")) == text


def test_what_is_not_defined_says_why_in_place_of_a_number(qapp):
    assert shown(Quantity("dice", "Dice", None, "", "method", "both empty")) == "both empty"


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_shows_what_the_library_measures_with_the_formula_beside_it(make):
    panels = make()
    assert value_of(panels, "volume_ml") == "0.6000 mL"
    panel = panels.panel("quantities")
    assert panel.formula.text().startswith("Volume: ")
    assert "det A33" in panel.formula.text()
    assert panel.tree.currentItem().toolTip(0) == panel.formula.text()
    report = quantities_of(panels.session.segmentation, image=panels.session.image)
    for quantity in report[1].quantities:
        assert value_of(panels, quantity.key) == shown(quantity)


def test_each_label_has_its_rows_and_an_empty_one_says_so(make):
    panels = make()
    panels.controller.editing.add_label("Second")
    measured(panels)
    assert value_of(panels, "", 2) == "0 mL"
    assert value_of(panels, "volume_ml", 1) == "0.6000 mL"
    assert panels.panel("quantities").histogram.histogram is not None
    value_of(panels, "", 2)
    assert panels.panel("quantities").histogram.histogram is None


def test_numbers_of_older_masks_are_marked_and_measured_again_on_the_worker(make):
    panels = make()
    panel = panels.panel("quantities")
    panel._later.setInterval(60_000)  # not before it was looked at, however slow this computer is
    panels.click()
    assert panel.state.text().startswith("Out of date")
    assert panel.tree.rows()[0].font(1).italic()
    assert not panel.copy.isEnabled()
    assert panel.report is None
    panel._later.setInterval(0)
    panels.controller.refining.accept()
    measured(panels)
    assert panel.state.text() == ""
    assert not panel.tree.rows()[0].font(1).italic()
    voxels = int((panels.session.label_map == 1).sum())
    assert value_of(panels, "voxels") == f"{voxels:,}"


def test_nothing_is_measured_while_another_tab_is_to_be_seen(make):
    panels = make()
    panels.window.right.open("history")
    panels.click()
    QTest.qWait(400)
    assert panels.controller.measuring.is_stale
    assert not panels.controller.measuring.is_busy
    panels.window.right.open("quantities")
    measured(panels)


def test_a_mask_at_the_edge_is_cut_off_and_has_its_value(make):
    panels = make(box_labels((slice(0, 10), slice(8, 14), slice(15, 20))))
    flags = panels.panel("quantities").flags
    assert flags.text() == "Label 1 is cut off at R, S: the mask touches the edge of the image there"
    assert flags.isVisibleTo(panels.window)
    assert value_of(panels, "volume_ml") == "0.6000 mL"


def test_where_slices_are_missing_the_quantities_are_disabled_and_it_says_why(make):
    panels = make(image=replace(ct(), source={"quantities": "disabled: 3 slices are missing"}))
    panel = panels.panel("quantities")
    assert panel.state.text().startswith("Disabled: Quantities of this")
    assert "3 slices are missing" in panel.state.text()
    assert panel.tree.topLevelItemCount() == 0
    assert not panel.csv.isEnabled()
    assert panel.csv.toolTip()


# --- out of here ------------------------------------------------------------------------------------------------------


def test_copy_puts_a_tab_separated_table_on_the_clipboard(make):
    panels = make()
    panels.panel("quantities").copy.click()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert lines[0].split("\t")[:3] == ["label", "name", "quantity"]
    assert any(line.split("\t")[2:5] == ["volume_ml", "", "0.6"] for line in lines)


def test_csv_and_json_are_written_whole_with_units_methods_hashes_and_provenance(make, dialogs, tmp_path):
    panels = make()
    panel = panels.panel("quantities")
    dialogs.answers = [tmp_path / "q.csv", tmp_path / "q.json"]
    panel.csv.click()
    panel.json.click()
    panels.idle()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "q.csv").read_text())))
    volume = next(row for row in rows if row["quantity"] == "volume_ml")
    assert (volume["value"], volume["unit"]) == ("0.6", "mL")
    assert volume["image_sha256"] == panels.session.image_hash
    assert volume["notice"] == "For research use only. Not a medical device."
    told = json.loads((tmp_path / "q.json").read_text())
    assert told["image_sha256"] == panels.session.image_hash
    assert told["provenance"]
    assert dialogs.asked[0].start.startswith(panels.controller.desk.case.opened.case_id)


# --- comparison -------------------------------------------------------------------------------------------------------


def mask_file(tmp_path: Path, where, value=1, name="other.nii.gz") -> Path:
    array = np.zeros(SHAPE, np.uint8)
    array[where] = value
    write_volume(tmp_path / name, Volume(array, AFFINE))
    return tmp_path / name


def test_a_mask_file_is_compared_label_by_label_and_the_table_leads_there(make, dialogs, tmp_path):
    panels = make()
    moved = (slice(11, 21), BOX[1], BOX[2])
    dialogs.answers = [mask_file(tmp_path, moved)]
    panel = panels.panel("quantities")
    panel.compare.click()
    measured(panels)
    assert panel.tree.key == (1, "dice")
    assert value_of(panels, "dice") == "0.9000"
    assert value_of(panels, "hd95") == "1.000 mm"
    assert value_of(panels, "nsd") == "1.000"
    assert panel.reference.text() == "Compared with other.nii.gz"
    panel.tolerance.setValue(0.5)
    measured(panels)
    assert value_of(panels, "nsd") != "1.000"
    panel.no_compare.click()
    measured(panels)
    assert not panel.tree.choose((1, "dice"))


def test_the_only_label_of_a_mask_with_a_foreign_value_stands_for_the_active_label(make, dialogs, tmp_path):
    panels = make()
    dialogs.answers = [mask_file(tmp_path, BOX, value=255)]
    panels.panel("quantities").compare.click()
    measured(panels)
    assert value_of(panels, "dice") == "1.000"
    assert "Label 255 of the file is compared with Label 1" in panels.panel("quantities").reference.text()


def test_a_mask_of_another_place_is_refused_in_words_and_nothing_is_compared(make, dialogs, tmp_path):
    panels = make()
    far = AFFINE.copy()
    far[:3, 3] += 500
    write_volume(tmp_path / "far.nii.gz", Volume(np.ones(SHAPE, np.uint8), far))
    dialogs.answers = [tmp_path / "far.nii.gz"]
    panels.panel("quantities").compare.click()
    assert "no mask of the open image" in dialogs.texts[-1]
    assert not panels.panel("quantities").no_compare.isEnabled()


def test_a_comparison_ends_with_its_case(make, dialogs, tmp_path):
    panels = make()
    dialogs.answers = [mask_file(tmp_path, BOX), "discard"]
    panels.panel("quantities").compare.click()
    measured(panels)
    panels.controller.release()
    assert panels.controller.measuring.reference_name == ""
    assert panels.panel("quantities").tree.topLevelItemCount() == 0


def test_labels_that_match_are_left_as_they_are(qapp):
    table = LabelMap.of_values([1, 2])
    given = box_labels(value=2)
    assert matched(given, table, 1) == (given, ())


# --- plots ------------------------------------------------------------------------------------------------------------


def test_the_areas_of_a_box_are_known_in_every_plane(qapp):
    session = SegmentationSession(ct(), lambda: None, segmentation=box_labels())
    areas = plots_of(session.segmentation, session.image)[1].areas
    assert {plane: (a.first, set(a.areas)) for plane, a in areas.items()} == {
        "axial": (4, {60.0}),
        "coronal": (8, {100.0}),
        "sagittal": (10, {60.0}),
    }


def test_the_histogram_counts_every_voxel_inside_once(qapp):
    from medseg_rl.quantities import regions_of

    image, labels = ct(), box_labels()
    region = regions_of(labels, [1])[1]
    found = histogram(region, image)
    assert found.counts.sum() == 300
    values = image.array[BOX]
    assert found.edges[0] <= values.min()
    assert found.edges[-1] >= values.max()
    assert np.all(np.mod(found.edges + 0.5, 1) == 0)  # a whole number falls into the middle of a bin, or of its step
    empty = regions_of(labels, [7])[7]
    assert histogram(empty, image) is None
    assert slice_areas(empty, image) == {}


def test_the_line_in_the_area_plot_follows_the_crosshair_and_a_click_leads_to_a_slice(make):
    panels = make()
    plot = panels.panel("quantities").areas
    for index in (5, 7):
        panels.controller.views.to_slice("axial", index)
        assert plot.mark() == index + 1
        assert plot.title() == f"Slice {index + 1}: 60.0 mm²"
    x, frame = plot._x(), plot._frame()
    place = QPointF(x.pixel(5.0), frame.center().y()).toPoint()  # slices count from 1 there
    QTest.mouseClick(plot, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    assert panels.controller.desk.view.slices["axial"] == 4
    panels.panel("quantities").plane.setCurrentIndex(2)
    assert plot.areas.plane == "sagittal"


def test_the_plots_paint_bars_as_high_as_their_numbers(qapp, show):
    from medseg_rl_gui.measuring import Histogram, SliceAreas

    plot = HistogramPlot()
    show(plot, (300, 200))
    plot.show_histogram(Histogram(np.array([1, 4, 2]), np.array([0.0, 1.0, 2.0, 3.0]), "HU"), QColor(230, 159, 0))
    picture, frame, x = plot.grab().toImage(), plot._frame(), plot._x()

    def tall(value: float) -> int:
        column = round(x.pixel(value))
        rows = range(round(frame.top()), round(frame.bottom()))
        return sum(picture.pixelColor(column, y) == QColor(230, 159, 0) for y in rows)

    heights = [tall(v) for v in (0.5, 1.5, 2.5)]
    assert heights[1] == pytest.approx(frame.height(), abs=3)
    assert heights[0] == pytest.approx(heights[1] / 4, abs=2)
    assert heights[2] == pytest.approx(heights[1] / 2, abs=2)
    assert plot.title() == "Voxels by intensity (HU)"
    assert plot.pointed(1.5) == "1.00 to 2.00: 4 voxels"
    area = AreaPlot()
    show(area, (300, 200))
    area.show_areas(SliceAreas("axial", 0, np.array([5.0])), QColor(0, 114, 178))
    area.grab()  # one slice, no crosshair
    assert area.title() == "Area per slice (mm²)"


def test_what_changes_while_it_is_measured_is_measured_again(make):
    panels = make()
    measuring = panels.controller.measuring
    panels.click()
    panels.controller.refining.accept()
    measuring.measure()
    assert measuring.is_busy
    panels.controller.editing.undo()  # while the worker is at it
    measured(panels)
    assert value_of(panels, "volume_ml") == "0.6000 mL"
