"""The Refine tab drives a real session: model, starts, proposal, guard, box, stop."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from medseg_rl.errors import Cancelled
from medseg_rl.imageio import write_volume
from medseg_rl_gui.actions import BY_ID
from medseg_rl_gui.models import Listed
from medseg_rl_gui.tools import Limit
from tests.gui.panel_cases import CENTRE, BallModels, Balls, ct
from tests.gui.side_cases import boxes, opened, press


class Two(BallModels):
    """Two that work, and a folder that is none."""

    @property
    def listed(self):
        return (*super().listed, Listed("broken", None, "its manifest is missing"))


class Slow(Balls):
    """Shows its first step, then goes on until it is stopped."""

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        super().refine(request, cancel=cancel, preview=preview)
        while not cancel():
            time.sleep(0.005)
        raise Cancelled("stopped")


class SlowModels(BallModels):
    def refiner_of(self, bundle):
        return lambda: Slow("slow", 20.0, 8)


@pytest.fixture
def sides(tmp_path, dialogs, show):
    models = Two(one=20.0, two=35.0)
    with opened(tmp_path, dialogs, show, models=models, labels=boxes((2, 2, 2), (12, 2, 2)), tab="refine") as made:
        yield made


# --- the model --------------------------------------------------------------------------------------------------------


def test_models_are_listed_with_what_they_were_trained_on_and_the_unusable_with_the_reason(sides):
    section = sides.refine.model
    entries = [section.box.itemText(at) for at in range(section.box.count())]
    assert entries == ["Best fit for each image", "one 1.0", "two 1.0"]
    assert "Licence: not stated" in section.facts.text()
    assert "Trained on: CT, voxels of any size" in section.facts.text()
    assert "Hash: " in section.facts.text()
    assert section.unusable.text() == "broken cannot be used: its manifest is missing"
    assert section.warnings.text() == ""


def test_another_model_refines_from_the_next_click_on_and_is_kept(sides):
    sides.controller.editing.add_label()
    sides.click()
    small = sides.session.proposal.added_voxels
    sides.window.acts.trigger("proposal.discard")
    section = sides.refine.model
    section.box.setCurrentIndex(2)
    section.box.activated.emit(2)
    assert sides.window.store.current.model.bundle == "two"
    assert sides.controller.models.fitting(sides.session.image).name == "two"
    sides.click()
    assert sides.session.proposal.added_voxels > small


def test_an_image_of_another_modality_brings_the_warning_of_the_bundle(tmp_path, dialogs, show):
    with opened(tmp_path, dialogs, show, is_open=False) as sides:
        sides.open(replace(ct(), modality="MR"))
        assert "This image is MR, but one was trained on CT" in sides.refine.model.warnings.text()


def test_a_folder_that_is_no_model_is_refused_in_words(sides, dialogs, tmp_path):
    dialogs.answers = [tmp_path]
    press(sides, sides.refine.model.add)
    assert dialogs.asked[-1].title == "Not a model"


# --- starts -----------------------------------------------------------------------------------------------------------


def test_another_label_becomes_the_proposal_of_the_active_one(sides):
    section = sides.refine.start
    assert section.label.currentText() == "Label 2"
    sides.controller.editing.set_lock(2, False)
    sides.controller.editing.set_overwrite("overlap")
    press(sides, section.from_label)
    assert sides.session.history.undo_names[0].startswith("Start from Label 2")
    assert np.array_equal(sides.session.mask, sides.session.label_map == 2)
    sides.controller.editing.undo()
    assert sides.session.proposal is None


def test_a_mask_file_becomes_the_proposal(sides, dialogs, tmp_path):
    mask = np.zeros(sides.session.image.shape, np.uint8)
    mask[20:26, 20:26, 8:12] = 1
    path = tmp_path / "start.nii.gz"
    write_volume(path, sides.session.image.with_array(mask))
    dialogs.answers = [path]
    press(sides, sides.refine.start.from_file)
    assert np.array_equal(sides.session.mask, mask == 1)
    assert sides.session.proposal is not None


def test_what_is_no_mask_of_this_image_is_told(sides, dialogs, tmp_path):
    path = tmp_path / "other.nii.gz"
    elsewhere = sides.session.image.affine.copy()
    elsewhere[:3, 3] += 500
    mask = replace(sides.session.image.with_array(np.ones(sides.session.image.shape, np.uint8)), affine=elsewhere)
    write_volume(path, mask)
    dialogs.answers = [path]
    press(sides, sides.refine.start.from_file)
    assert dialogs.asked[-1].title == "Not a mask of this image"
    assert sides.session.proposal is None


def test_a_start_needs_an_open_lock_and_says_so(sides):
    sides.controller.editing.set_lock(1, True)
    for made in (sides.refine.start.from_file, sides.refine.start.from_label):
        assert not made.isEnabled()
        assert "Label 1 is locked" in made.toolTip()
    assert "gives no automatic start" in sides.refine.start.automatic.toolTip()


# --- the proposal -----------------------------------------------------------------------------------------------------


def test_the_proposal_is_counted_and_answered(sides):
    section = sides.refine.proposal
    assert section.said.text() == "There is no open proposal."
    sides.click()
    assert section.said.text().endswith("1 click.")
    press(sides, section.accept)
    assert sides.session.proposal is None
    press(sides, section.again)
    assert sides.session.history.done[-1].action == "refine"
    press(sides, section.discard)
    assert sides.session.proposal is None
    assert section.steps.text().startswith("2 refinement steps a click")


def test_a_running_refinement_shows_its_steps_and_stop_ends_it(tmp_path, dialogs, show):
    with opened(tmp_path, dialogs, show, models=SlowModels(), tab="refine") as sides:
        section = sides.refine.proposal
        sides.controller.refining.click(sides.world(CENTRE), positive=True)
        sides.wait(lambda: section.bar.isVisible())
        assert (section.bar.value(), section.bar.maximum()) == (1, 2)
        assert section.stop.isEnabled()
        section.stop.click()
        sides.idle()
        assert sides.session.proposal is None
        assert sides.session.clicks == ()
        assert not section.bar.isVisible()
        assert not section.stop.isEnabled()
        assert "Nothing is running" in section.stop.toolTip()


def test_automatic_acceptance_is_a_preference(sides):
    section = sides.refine.proposal
    assert not section.automatic.isChecked()
    press(sides, section.automatic)
    assert sides.window.store.current.edit.auto_accept
    sides.click()
    assert sides.session.proposal is None
    assert sides.session.history.undo_names[0].startswith("Accept proposal")


# --- what a click may change ------------------------------------------------------------------------------------------


def test_the_guard_has_a_radius_and_a_switch(sides):
    section = sides.refine.bounds
    assert section.guard.isChecked()
    section.radius.setValue(15)
    assert sides.session.config.edit_radius_mm == 15
    assert sides.window.store.current.edit.guard_mm == 15
    press(sides, section.guard)
    assert sides.session.config.edit_radius_mm is None
    assert not section.radius.isEnabled()
    assert "The guard is off" in section.radius.toolTip()
    sides.window.acts.trigger("model.guard")
    assert section.guard.isChecked()
    assert sides.session.config.edit_radius_mm == 15
    assert (section.radius.minimum(), section.radius.maximum()) == (5, 100)


def test_a_box_limits_the_model_and_is_lifted(sides):
    section = sides.refine.bounds
    assert not section.lift.isEnabled()
    assert section.lift.toolTip() == "There is no box"
    press(sides, section.draw)
    assert sides.controller.pointing.tool == "box"
    assert sides.controller.desk.tools.box_use == "limit"
    sides.controller.pointing._limit_to(Limit(sides.world((14, 14, 0)), sides.world((22, 22, 0)), "axial"))
    assert "9 × 9 × 20 voxels" in section.box.text()
    sides.controller.editing.add_label()
    sides.click()
    changed = np.argwhere(sides.session.mask)
    assert changed[:, :2].min() >= 14
    assert changed[:, :2].max() <= 22
    press(sides, section.lift)
    assert sides.session.limit is None
    assert section.box.text().startswith("No box")


def test_suggestions_and_candidates_are_those_of_the_table(sides):
    section = sides.refine.next
    assert "must refine once" in section.next.toolTip()
    sides.controller.editing.add_label()
    sides.click()
    press(sides, section.next)
    assert "score" in section.place.text()
    assert section.candidates.text() == f"{BY_ID['model.candidates'].text} (K)"
