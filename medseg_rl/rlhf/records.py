"""Frozen types of every kind of feedback, each checked when it is made. One act of a person is one record.

A record holds no identifier, no date of birth, no file header and no path of this machine: names are short tokens, text
stands only in the records of text tasks, arrays lie in files that are named by relative path and SHA-256. Opens no
file, and needs only the standard library: `manifest` reads and writes records, `arrays` what they point to.

Indices count in the axis order nearest to RAS+, from the corner of the region that a record is about.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from medseg_rl.errors import InputFileError
from medseg_rl.rlhf.json_values import as_json, from_json

SCHEMA = 1

Index = tuple[int, int, int]
Split = Literal["train", "validation", "test"]

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,119}\Z")
_UID = re.compile(r"\d+(\.\d+){4,}")  # what DICOM calls a UID
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_ARRAY_PATH = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\.(npz|nii|nii\.gz)\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\Z")


class RecordError(InputFileError):
    """A feedback record, or an array it points to, is not as it should be."""


def new_record_id() -> str:
    """A fresh random identifier."""
    return secrets.token_hex(8)


def now_utc() -> str:
    """The time as records hold it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class ArrayReference:
    """An array in a file: `path` relative to the manifest with forward slashes, `sha256` of the file's bytes."""

    path: str
    sha256: str

    def __post_init__(self) -> None:
        if not _ARRAY_PATH.match(self.path):
            raise RecordError(f"an array lies in a relative .npz, .nii or .nii.gz file, not in {self.path!r}")
        if not _SHA256.match(self.sha256):
            raise RecordError(f"the sha256 of {self.path} is {self.sha256!r}, not 64 hexadecimal digits")


@dataclass(frozen=True)
class Hint:
    """A click: voxel from the corner of the region, whether it says object, whether it is new in this interaction."""

    index: Index
    foreground: bool
    new: bool = False


@dataclass(frozen=True)
class Grid:
    """The region that a record is about. `spacing` in mm; `start`: its first voxel in a volume of `volume_shape`."""

    spacing: tuple[float, float, float]
    start: Index
    shape: Index
    volume_shape: Index

    def __post_init__(self) -> None:
        inside = all(
            a >= 0 and a + n <= whole for a, n, whole in zip(self.start, self.shape, self.volume_shape, strict=True)
        )
        if min(self.spacing) <= 0 or min(self.shape) < 1 or not inside:
            raise RecordError(f"a region of {self.shape} from {self.start} is none of a volume of {self.volume_shape}")


@dataclass(frozen=True, kw_only=True)
class VolumePrompt:
    """The state that a person acted on, over `grid`.

    `image`: float32 as the networks see it, None unless storing voxels was allowed. `initial_probability`: uint8
    hundredths 1..99. `locked`: True where a lock lies, None for nowhere. `label`: value of the structure. `context`:
    records of accepted cases given as examples, for `prompt_kind` "few_shot".
    """

    grid: Grid
    initial_probability: ArrayReference | None
    image: ArrayReference | None = None
    hints: tuple[Hint, ...] = ()
    command: str = "na"
    locked: ArrayReference | None = None
    label: int = 1
    modality: str | None = None
    context: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_tokens(self, ("command", "modality"))
        for hint in self.hints:
            if not all(0 <= i < n for i, n in zip(hint.index, self.grid.shape, strict=True)):
                raise RecordError(f"the hint at {hint.index} lies outside the region of {self.grid.shape}")


Prompt = str | VolumePrompt
Completion = str | ArrayReference


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all kinds share.

    `amends`: the record that this one, a complete one of the same kind, takes the place of. `case_id`, `group_id`
    (patient): salted hashes. `annotator`: a pseudonym. `policy_id`: what proposed. `use_case`: the kind of
    correction.
    """

    kind: ClassVar[str]

    record_id: str = field(default_factory=new_record_id)
    amends: str | None = None
    case_id: str
    group_id: str
    split: Split | None = None
    annotator: str
    annotator_kind: Literal["human", "simulated"]
    created_utc: str = field(default_factory=now_utc)
    policy_id: str | None = None
    prompt_kind: Literal["plain", "few_shot", "user_based"] = "plain"
    prompt_source: Literal["logged", "written"] = "logged"
    use_case: str | None = None
    may_train: bool = False
    prompt: Prompt | None = None

    def __post_init__(self) -> None:
        _check_tokens(self, ("record_id", "amends", "case_id", "group_id", "annotator", "policy_id", "use_case"))
        if not _TIME.match(self.created_utc):
            raise RecordError(f"created_utc is {self.created_utc!r}, not of the form 2026-01-31T12:00:00Z")
        if self.amends == self.record_id:
            raise RecordError(f"record {self.record_id} amends itself; name the record whose place it takes")
        if self.split == "test" and self.may_train:
            raise RecordError(f"record {self.record_id} is of a test patient and may_train; it must not train anything")
        self._check()

    def _check(self) -> None:
        """What one kind demands beyond the common keys. Raises RecordError."""

    @property
    def has_image(self) -> bool:
        """Whether all that the prompt needs was stored: False where image voxels were not."""
        return not isinstance(self.prompt, VolumePrompt) or self.prompt.image is not None

    @property
    def stores_image(self) -> bool:
        """Whether it points to voxels of an image."""
        return isinstance(self.prompt, VolumePrompt) and self.prompt.image is not None

    @property
    def references(self) -> tuple[ArrayReference, ...]:
        """Every array it points to."""
        return tuple(_references(self))

    def to_json(self) -> dict[str, Any]:
        """Its line in a manifest."""
        return {"schema": SCHEMA, "kind": self.kind, **as_json(self)}


@dataclass(frozen=True, kw_only=True)
class Text(Record):
    """Text to model as it stands."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, kw_only=True)
class PromptOnly(Record):
    """A prompt without an answer."""

    kind: ClassVar[str] = "prompt"

    def _check(self) -> None:
        _need_prompt(self)


@dataclass(frozen=True, kw_only=True)
class Demonstration(Record):
    """What a person accepted. `completion`: the final mask, or text. `interactions`: clicks, edits, commands."""

    kind: ClassVar[str] = "demonstration"
    completion: Completion
    elapsed_ms: int | None = None
    interactions: int | None = None

    def _check(self) -> None:
        _need_prompt(self)
        _check_counts(self, ("elapsed_ms", "interactions"))


@dataclass(frozen=True, kw_only=True)
class Preference(Record):
    """One answer preferred to another. Pairs out of one ranking keep its `record_id`, so that they can be regrouped."""

    kind: ClassVar[str] = "preference"
    chosen: Completion
    rejected: Completion
    margin: float | None = None

    def _check(self) -> None:
        _need_prompt(self)


@dataclass(frozen=True, kw_only=True)
class Unpaired(Record):
    """One answer and whether it is good."""

    kind: ClassVar[str] = "unpaired"
    completion: Completion
    label: bool

    def _check(self) -> None:
        _need_prompt(self)


@dataclass(frozen=True, kw_only=True)
class Ranking(Record):
    """K answers in order. `ranks`: 1 is best, equal is a tie; what was left unranked ties behind all ranked ones.

    `presentation_order`: which completion stood first, second, ... on screen; empty where that is not known.
    `policy_ids`: what made each; empty where that is not known. `implicit`: read off an undo,
    trains nothing by default.
    """

    kind: ClassVar[str] = "ranking"
    completions: tuple[Completion, ...]
    ranks: tuple[int, ...]
    presentation_order: tuple[int, ...] = ()
    decision_ms: int | None = None
    none_acceptable: bool = False
    implicit: bool = False
    policy_ids: tuple[str, ...] = ()

    def _check(self) -> None:
        _need_prompt(self)
        _check_counts(self, ("decision_ms",))
        k = len(self.completions)
        if k < 2 or len(self.ranks) != k or min(self.ranks) != 1:
            raise RecordError(f"{k} completions have the ranks {list(self.ranks)}; give each one, the best a 1")
        if self.presentation_order and sorted(self.presentation_order) != list(range(k)):
            raise RecordError(f"{list(self.presentation_order)} is no order of {k} completions counted from 0")
        if self.policy_ids and len(self.policy_ids) != k:
            raise RecordError(f"{k} completions have {len(self.policy_ids)} policy ids; give each one, or none at all")
        for policy_id in self.policy_ids:
            check_token("policy_ids", policy_id)


@dataclass(frozen=True, kw_only=True)
class Intervention(Record):
    """A stroke while the agent refined. Arrays over the prompt's grid: `voxels` bool, the two actions int8 hundredths.

    `step`: refinement step (from 0) that it came into. `case_index`: how many cases were finished before. `label`: 1
    painted, 0 erased. `first_of_event`: the earlier step had none. `retracted`: undone or painted over later.
    """

    kind: ClassVar[str] = "intervention"
    step: int
    case_index: int
    voxels: ArrayReference
    label: Literal[0, 1]
    proposed_action: ArrayReference | None
    executed_action: ArrayReference
    retracted: bool = False
    first_of_event: bool = True

    def _check(self) -> None:
        _need_prompt(self)
        _check_counts(self, ("step", "case_index"))


@dataclass(frozen=True)
class CommandOutcome:
    """`dice`: of the command's result with the mask accepted later. `win`: whether that was good enough."""

    dice: float
    win: bool


@dataclass(frozen=True, kw_only=True)
class Command(Record):
    """An instruction and the edit that followed it. `observation`: state before; `action`: int8 hundredths added.

    `outcome`: None until the case was accepted.
    """

    kind: ClassVar[str] = "command"
    command: str
    observation: Completion
    action: Completion
    outcome: CommandOutcome | None = None

    def _check(self) -> None:
        check_token("command", self.command)


AnswerClass = Literal["A", "B", "C", "D"]  # abstains with reason, abstains without, forbidden, segments


@dataclass(frozen=True, kw_only=True)
class Abstention(Record):
    """ "The target is not here", or the correction of that. `reason`: a token such as "not_in_image"."""

    kind: ClassVar[str] = "abstention"
    predicted_class: AnswerClass
    correct_class: AnswerClass
    reason: str

    def _check(self) -> None:
        check_token("reason", self.reason)


@dataclass(frozen=True, kw_only=True)
class Game(Record):
    """Two checkpoints on one case with equal clicks. `first` stood on the left. Scores where a label is known."""

    kind: ClassVar[str] = "game"
    click_budget: int
    first: str
    second: str
    result: Literal["first", "second", "draw"]
    score_first: float | None = None
    score_second: float | None = None

    def _check(self) -> None:
        _check_counts(self, ("click_budget",))
        _check_tokens(self, ("first", "second"))


KINDS: dict[str, type[Record]] = {
    cls.kind: cls
    for cls in (
        Text,
        PromptOnly,
        Demonstration,
        Preference,
        Unpaired,
        Ranking,
        Intervention,
        Command,
        Abstention,
        Game,
    )
}


def record_of(line: Any) -> Record:
    """A record from a parsed line. Raises RecordError: another schema, an unknown kind or key, a value out of range."""
    if not isinstance(line, dict):
        raise RecordError("a record is one JSON object a line")
    content = dict(line)
    schema, kind = content.pop("schema", None), content.pop("kind", None)
    if schema != SCHEMA:
        raise RecordError(f"schema {schema!r} where this version reads {SCHEMA}; update medseg-rl")
    if kind not in KINDS:
        raise RecordError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    try:
        return from_json(KINDS[kind], content)
    except ValueError as error:
        raise RecordError(f"{kind}: {error}") from None


def check_token(name: str, text: str) -> None:
    """Raises RecordError unless `text` is a short name that can hide neither a path nor a UID."""
    if not _TOKEN.match(text) or _UID.search(text):
        raise RecordError(f"{name} must be a short name of letters, digits and . _ : @ + -, and no UID")


def _check_tokens(record: Any, names: tuple[str, ...]) -> None:
    for name in names:
        text = getattr(record, name)
        if text is not None:
            check_token(name, text)


def _check_counts(record: Record, names: tuple[str, ...]) -> None:
    for name in names:
        count = getattr(record, name)
        if count is not None and count < 0:
            raise RecordError(f"{name} is {count}; it counts from 0")


def _need_prompt(record: Record) -> None:
    if record.prompt is None:
        raise RecordError(f"a {record.kind} needs the prompt that it answers")


def _references(value: Any) -> list[ArrayReference]:
    if isinstance(value, ArrayReference):
        return [value]
    if isinstance(value, tuple):
        return [reference for item in value for reference in _references(item)]
    if isinstance(value, Record | VolumePrompt):
        return [found for entry in fields(value) for found in _references(getattr(value, entry.name))]
    return []
