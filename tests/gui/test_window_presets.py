"""Grey levels: the presets of the specification, and which window a case starts with."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_rl.volume import Volume
from medseg_rl_gui.actions import ACTIONS
from medseg_rl_gui.view_model import Window
from medseg_rl_gui.window_presets import HOUNSFIELD, automatic, full_range, initial_window, is_hounsfield

CT = Volume(np.linspace(-1000, 1000, 1000).astype(np.int16).reshape(10, 10, 10), np.eye(4))
MR = Volume(np.linspace(0, 999, 1000).astype(np.float32).reshape(10, 10, 10), np.eye(4))


def test_every_preset_has_an_action_that_names_its_numbers() -> None:
    texts = {action.id: action.text for action in ACTIONS}
    for name, window in HOUNSFIELD.items():
        assert texts[f"window.{name}"].endswith(f" {window.width:g}/{window.level:g}")


@pytest.mark.parametrize(
    ("image", "modality", "expected"),
    [(CT, "CT", True), (CT, "", True), (CT, "MR", False), (MR, "", False), (MR, "CT", True), (MR, "PT", False)],
)
def test_hounsfield_windows_are_for_ct_or_what_looks_like_it(image: Volume, modality: str, expected: bool) -> None:
    assert is_hounsfield(image, modality) is expected


def test_the_first_window_is_the_kept_one_then_the_files_then_by_what_it_is() -> None:
    kept, stored, soft = Window(9, 1), Window(8, 2), HOUNSFIELD["soft_tissue"]
    assert initial_window(CT, "CT", stored=stored, kept=kept) == kept
    assert initial_window(CT, "CT", stored=stored) == stored
    assert initial_window(CT, "CT", stored=Window(0, 5)) == soft
    assert initial_window(MR, "MR") == automatic(MR)


def test_full_range_and_automatic_reach_as_far_as_they_should() -> None:
    assert full_range(MR) == Window(999, 499.5)
    found = automatic(MR)
    assert found.level - found.width / 2 == pytest.approx(0.999, abs=0.01)
    assert full_range(Volume(np.zeros((2, 2, 2), np.int16), np.eye(4))).width > 0
