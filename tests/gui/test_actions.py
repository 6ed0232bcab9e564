"""The table of actions and gestures: nothing is taken twice, presets differ as they should, changes are checked."""

from __future__ import annotations

import pytest

from medseg_rl_gui.actions import ACTIONS, BY_ID, PRESETS, Preset
from medseg_rl_gui.bindings import Bindings, TakenError, portable
from medseg_rl_gui.gestures import MOUSE_ACTIONS, Gesture, meaning
from medseg_rl_gui.view_model import Button, Modifier

CTRL, SHIFT, ALT = Modifier.CTRL, Modifier.SHIFT, Modifier.ALT


def test_ids_occur_once() -> None:
    ids = [action.id for action in ACTIONS] + [action.id for action in MOUSE_ACTIONS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_has_a_key_or_gesture_twice_in_one_context(preset: Preset) -> None:
    assert Bindings(preset).conflicts() == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_shipped_key_and_gesture_has_its_one_spelling(preset: Preset) -> None:
    bindings = Bindings(preset)
    for action in ACTIONS:
        assert [portable(keys) for keys in bindings.of(action.id)] == list(bindings.of(action.id))
    for gestures in bindings.gestures.values():
        assert [str(Gesture.of(gesture)) for gesture in gestures] == list(gestures)


@pytest.mark.parametrize(
    ("preset", "id_", "keys"),
    [
        ("default", "tool.point", ("P",)),
        ("itksnap", "tool.scribble", ("Shift+S",)),
        ("itksnap", "view.overlay", ("S",)),
        ("itksnap", "view.fainter", ("A",)),
        ("itksnap", "label.previous", ("<",)),
        ("slicer", "edit.undo", ("Ctrl+Z", "Z")),
        ("slicer", "tool.window", ("Alt+W",)),
        ("slicer", "tool.swap", ("Space",)),
        ("slicer", "tool.momentary", ()),
        ("slicer", "label.next", ("W",)),
        ("slicer", "brush.larger", ("+",)),
        ("pacs", "tool.brush", ("D",)),
        ("pacs", "window.liver", ("Alt+7",)),
    ],
)
def test_presets_have_the_keys_of_the_specification(preset: Preset, id_: str, keys: tuple[str, ...]) -> None:
    assert Bindings(preset).of(id_) == keys


@pytest.mark.parametrize(
    ("preset", "form", "button", "modifiers", "tool", "held", "expected"),
    [
        ("default", "click", Button.LEFT, (), "point", False, "mouse.positive"),
        ("default", "click", Button.RIGHT, (), "point", False, "mouse.negative"),
        ("default", "click", Button.LEFT, (CTRL,), "point", False, "mouse.negative"),
        ("itksnap", "click", Button.LEFT, (CTRL,), "point", False, None),
        ("default", "click", Button.LEFT, (), "navigate", False, "mouse.crosshair"),
        ("default", "drag", Button.RIGHT, (), "point", False, "mouse.zoom"),
        ("default", "drag", Button.RIGHT, (), "brush", False, "mouse.erase"),
        ("slicer", "drag", Button.RIGHT, (), "brush", False, "mouse.zoom"),
        ("pacs", "drag", Button.RIGHT, (), "brush", False, "mouse.window"),
        ("pacs", "drag", Button.RIGHT, (CTRL,), "point", False, "mouse.zoom"),
        ("pacs", "drag", Button.RIGHT, (CTRL, SHIFT), "point", False, "mouse.window_box"),
        ("default", "drag", Button.LEFT, (), "point", True, "mouse.window"),
        ("default", "drag", Button.LEFT, (CTRL,), "point", True, "mouse.window_box"),
        ("itksnap", "drag", Button.RIGHT, (), "point", True, "mouse.window_box"),
        ("itksnap", "drag", Button.LEFT, (CTRL,), "brush", False, "mouse.zoom"),
        ("itksnap", "drag", Button.LEFT, (ALT,), "brush", False, "mouse.pan"),
        ("slicer", "drag", Button.LEFT, (), "window", False, "mouse.window"),
        ("slicer", "drag", Button.LEFT, (), "brush", False, "mouse.paint"),
        ("default", "wheel", None, (), "brush", False, "mouse.scroll"),
        ("default", "wheel", None, (SHIFT,), "brush", False, "mouse.radius"),
        ("default", "wheel", None, (CTRL,), "brush", False, "mouse.zoom"),
        ("default", "move", None, (SHIFT,), "lasso", False, "mouse.crosshair"),
        ("default", "click", Button.LEFT, (CTRL, SHIFT), "brush", False, "mouse.pick"),
        ("default", "drag", Button.LEFT, (), "lasso", False, "mouse.paint"),
        ("default", "drag", Button.LEFT, (), "point", False, None),
    ],
)
def test_gestures_mean_what_the_specification_says(
    preset: Preset,
    form: str,
    button: Button | None,
    modifiers: tuple[Modifier, ...],
    tool: str,
    held: bool,
    expected: str | None,
) -> None:
    bound = Bindings(preset).gestures
    found = meaning(bound, form=form, button=button, modifiers=frozenset(modifiers), tool=tool, held=held)  # type: ignore[arg-type]
    assert found == expected


def test_a_taken_key_is_refused_and_the_other_action_named() -> None:
    with pytest.raises(TakenError, match="“Brush”"):
        Bindings().changing("tool.point", "d")
    with pytest.raises(TakenError, match="“Zoom”"):
        Bindings().changing("mouse.scroll", "ctrl+wheel")


def test_the_same_key_may_mean_another_thing_in_another_context() -> None:
    assert BY_ID["rank.submit"].keys_in("default") == BY_ID["proposal.accept"].keys_in("default")
    assert Bindings().changing("rank.none", "P").of("rank.none") == ("P",)


def test_two_actions_may_swap_their_keys() -> None:
    swapped, problems = Bindings("default", {"tool.brush": ("P",), "tool.point": ("D",)}).checked()
    assert problems == []
    assert swapped.conflicts() == []
    assert swapped.of("tool.brush") == ("P",)


def test_changes_that_cannot_be_are_left_out_and_said() -> None:
    changes = {
        "tool.brush": ("P",),
        "no.such": ("X",),
        "tool.box": ("nonsense",),
        "mouse.pan": ("left",),
        "tool.lasso": ("Y",),
    }
    kept, problems = Bindings("default", changes).checked()
    assert dict(kept.changes) == {"tool.lasso": ("Y",)}
    assert len(problems) == 4


def test_going_back_to_the_shipped_keys_leaves_no_change() -> None:
    assert Bindings().changing("tool.point", "F8").changing("tool.point", "P").changes == {}


@pytest.mark.parametrize("text", ["left", "left-wheel", "Hyper+left-drag", "wheel-drag", "drag", "click", ""])
def test_what_is_no_gesture_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no gesture"):
        Gesture.of(text)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_can_be_reached(action) -> None:  # type: ignore[no-untyped-def]
    assert action.menu or any(Bindings(preset).of(action.id) for preset in PRESETS)
