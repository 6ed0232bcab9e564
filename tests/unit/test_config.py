"""Settings from presets, files and single changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from medseg_rl.config import PRESETS, changed, run_config
from medseg_rl.errors import InputFileError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    mode: Literal["fast", "exact"] = "fast"


@dataclass(frozen=True)
class Outer:
    count: int = 1
    sizes: tuple[int, ...] = (1, 2)
    patch: tuple[int, int, int] = (8, 8, 8)
    limit: float | None = None
    flag: bool = False
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")


def test_values_reach_fields_of_nested_dataclasses() -> None:
    values = {"count": 3, "sizes": [4], "limit": 2, "inner": {"rate": 1, "mode": "exact"}}
    assert changed(Outer(), values, where="here") == Outer(count=3, sizes=(4,), limit=2.0, inner=Inner(1.0, "exact"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"counts": 1}, 'here: there is no setting "counts"; choose count, sizes'),
        ({"count": 1.5}, "here: count is 1.5; it must be a whole number"),
        ({"count": True}, "here: count is True; it must be a whole number"),
        ({"flag": 1}, "here: flag is 1; it must be true or false"),
        ({"patch": [1, 2]}, "here: patch is [1, 2]; it must be a list of 3"),
        ({"sizes": [1, "a"]}, "here: sizes is 'a'; it must be a whole number"),
        ({"limit": "x"}, "here: limit is 'x'; it must be float | None"),
        ({"inner": 3}, "here: inner is a table of settings, not 3"),
        ({"inner": {"mode": "slow"}}, "here: inner: mode is 'slow'; choose fast, exact"),
        ({"count": -1}, "here: count must not be negative"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_way_out(values: dict[str, object], says: str) -> None:
    with pytest.raises(InputFileError) as caught:
        changed(Outer(), values, where="here")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_names_settings_that_exist(preset: str) -> None:
    settings = run_config(preset)
    assert settings.training.updates > 0


def test_a_change_overrides_the_file_which_overrides_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[training]\nupdates = 5\nbatch = 3\n[training.learner]\ndiscount = 0.5\n[automatic]\nseed = 9\n")
    settings = run_config("small", file, ["training.batch=2", "training.network=small"])
    assert settings.training.updates == 5
    assert settings.training.batch == 2
    assert settings.training.network == "small"
    assert settings.training.learner.discount == 0.5
    assert settings.automatic.seed == 9


def test_the_published_preset_takes_one_step_an_interaction_and_five_interactions() -> None:
    training = run_config("itermrl").training
    assert training.steps_choices == (1,)
    assert training.max_interactions == 5
    assert training.learner.discount == 0.95
    assert training.learner.mode == "sampled"


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(InputFileError, match=r"there is no preset .*product, itermrl, small"):
        run_config("huge")


def test_a_file_that_is_no_toml_or_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("[training\n")
    with pytest.raises(InputFileError, match="cannot be read as TOML"):
        run_config("small", file)
    with pytest.raises(InputFileError, match="there is no settings file"):
        run_config("small", tmp_path / "none.toml")


def test_a_change_without_a_value_is_refused() -> None:
    with pytest.raises(InputFileError, match="write name=value"):
        run_config("small", None, ["training.updates"])
