"""The dialog service: what Qt shows for a question, and what the fake answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtWidgets import QDialog, QWidget

from medseg_rl_gui.about import GuideDialog, about_question, notice_question
from medseg_rl_gui.dialogs import Answer, Choice, FileQuestion, Question, ScriptedDialogs, ValueQuestion
from medseg_rl_gui.qt_dialogs import _with_suffix, message_box

RECOVER = Question(
    "Recover",
    "There is unsaved work.",
    (Choice("recover", "Recover"), Choice("discard", "Discard", "destructive"), Choice("later", "Cancel", "reject")),
    default="recover",
)


def test_closing_a_question_is_its_first_refusal() -> None:
    assert RECOVER.when_closed == "later"


def test_the_box_has_the_buttons_default_and_escape_of_the_question(qapp: object) -> None:
    box, buttons = message_box(RECOVER)
    assert [button.text() for button in buttons.values()] == ["Recover", "Discard", "Cancel"]
    assert box.defaultButton() is buttons["recover"]
    assert box.escapeButton() is buttons["later"]
    box.deleteLater()


def test_the_notice_must_be_ticked_before_it_can_be_accepted(
    show: Callable[..., QWidget], picture: Callable[[QWidget, str], Path]
) -> None:
    box, buttons = message_box(notice_question(first=True))
    show(box)
    tick = box.checkBox()
    assert tick is not None
    assert not buttons["accept"].isEnabled()
    picture(box, "notice")
    tick.click()
    assert buttons["accept"].isEnabled()


def test_about_and_guide_say_that_this_is_for_research(
    show: Callable[..., QWidget], picture: Callable[[QWidget, str], Path]
) -> None:
    assert "Not a medical device" in about_question().text
    assert "Qt" in about_question().details
    guide = GuideDialog()
    picture(show(guide), "guide")
    assert "Not a medical device" in guide.text.toPlainText()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mask", "mask.nii.gz"), ("mask.nrrd", "mask.nrrd"), ("a.b", "a.b.nii.gz"), ("m.nii.gz", "m.nii.gz")],
)
def test_a_name_without_a_known_ending_gets_one(name: str, expected: str) -> None:
    question = FileQuestion("Save", "save", (("Labels", ("*.nii.gz", "*.nrrd")),), suffix=".nii.gz")
    assert _with_suffix(Path(name), question) == Path(expected)


def test_the_fake_answers_in_order_and_keeps_what_it_was_asked(qapp: object) -> None:
    fake = ScriptedDialogs(
        ["discard", Answer("later", True), "a.nii", ["b", "c"], 3.5, lambda dialog: dialog.isModal()]
    )
    assert fake.ask(RECOVER) == Answer("discard")
    assert fake.ask(RECOVER) == Answer("later", True)
    assert fake.choose_files(FileQuestion("Open", "open")) == (Path("a.nii"),)
    assert fake.choose_files(FileQuestion("Open", "open_many")) == (Path("b"), Path("c"))
    assert fake.enter(ValueQuestion("Radius", "mm", 1.0, 0.0, 9.0)) == 3.5
    assert fake.run(QDialog()) is False
    assert fake.ask(RECOVER).choice == "later"
    assert fake.choose_files(FileQuestion("Open", "open")) == ()
    assert fake.enter(ValueQuestion("Name", "")) is None
    fake.tell("Done", "Saved")
    assert fake.texts[-1] == "Saved"
    assert len(fake.asked) == 10


def test_the_fake_refuses_an_answer_that_is_no_button() -> None:
    with pytest.raises(AssertionError, match="nonsense"):
        ScriptedDialogs(["nonsense"]).ask(RECOVER)
