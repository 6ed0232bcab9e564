"""Which model refines an image and which gives its start."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg_rl.bundle import Bundle
from medseg_rl.volume import Volume
from medseg_rl_gui.models import Listed, Models

AGENT, START = "models/agent.safetensors", "models/automatic.safetensors"


class Shelf(Models):
    """Models that need not lie anywhere."""

    def __init__(self, *bundles: Bundle, wanted: str = "") -> None:
        super().__init__(wanted, device="cpu")
        self._shelf = tuple(Listed(bundle.name, bundle) for bundle in bundles)

    @property
    def listed(self) -> tuple[Listed, ...]:
        return self._shelf


def bundle(name: str, *files: str, modalities: tuple[str, ...] = ()) -> Bundle:
    ours = {"format_version": 1, "modalities": list(modalities)}
    metadata = {"name": name, "version": "1", "medseg_rl": ours}
    return Bundle(Path(name), metadata, dict.fromkeys(files, f"hash of {name}"))


@pytest.fixture
def image() -> Volume:
    return Volume(np.zeros((4, 4, 4), np.float32), np.eye(4), "CT")


GENERAL = bundle("general", AGENT)
SPECIAL = bundle("special", AGENT, START, modalities=("CT",))
OTHER_KIND = bundle("brain", AGENT, START, modalities=("MR",))


def test_a_model_without_a_start_takes_that_of_another_and_the_work_says_whose_it_was(image):
    models = Shelf(GENERAL, SPECIAL)
    assert models.fitting(image) is GENERAL
    assert models.starting(image) is SPECIAL
    assert not models.why_no_start(image)
    used = models.used_to_start(image)
    assert used is not None
    assert (used.name, used.bundle_hash) == ("special", SPECIAL.hash)


def test_no_start_is_offered_of_a_model_for_other_images_unless_it_was_chosen(image):
    models = Shelf(GENERAL, OTHER_KIND)
    assert models.starting(image) is None
    assert models.why_no_start(image) == (
        "The model general gives no automatic start; this image is CT, but brain was trained on MR"
    )
    assert Shelf(GENERAL, OTHER_KIND, wanted="brain").starting(image) is OTHER_KIND


def test_a_model_that_gives_a_start_gives_its_own(image):
    other = bundle("other", AGENT, START)
    assert Shelf(GENERAL, other, SPECIAL, wanted="special").starting(image) is SPECIAL


def test_where_no_model_gives_a_start_the_reason_says_so(image):
    assert Shelf(GENERAL).starting(image) is None
    assert "general gives no automatic start" in Shelf(GENERAL).why_no_start(image)
    assert Shelf().why_no_start(image)
