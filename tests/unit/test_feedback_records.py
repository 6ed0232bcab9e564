"""Feedback records: what they refuse, that they come back from a manifest as they went, and what pairs they give."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.rlhf.arrays import encoded, read_array, write_array
from medseg_rl.rlhf.conversion import read_tsv, to_preferences, to_ranking
from medseg_rl.rlhf.manifest import effective, read_records, to_line, usable, write_records
from medseg_rl.rlhf.records import (
    KINDS,
    Abstention,
    ArrayReference,
    Command,
    CommandOutcome,
    Demonstration,
    Game,
    Grid,
    Hint,
    Intervention,
    Preference,
    PromptOnly,
    Ranking,
    RecordError,
    Text,
    Unpaired,
    VolumePrompt,
    record_of,
)

COMMON = {"case_id": "case-0011aabb", "group_id": "group-1", "annotator": "annotator-1", "annotator_kind": "human"}
MASK = ArrayReference("arrays/ab/abcd.npz", "0" * 64)
OTHER = ArrayReference("arrays/cd/cdef.nii.gz", "1" * 64)
GRID = Grid(spacing=(1.0, 0.5, 3.0), start=(2, 3, 4), shape=(8, 9, 10), volume_shape=(20, 21, 22))
PROMPT = VolumePrompt(
    grid=GRID,
    initial_probability=MASK,
    image=OTHER,
    hints=(Hint((0, 1, 2), True, True), Hint((7, 8, 9), False)),
    command="grow",
    locked=MASK,
    label=7,
    modality="MR",
    context=("a1",),
)

ONE_OF_EACH = (
    Text(**COMMON, text="这部电影很好\u2028 done"),
    PromptOnly(**COMMON, prompt="a prompt"),
    Demonstration(**COMMON, prompt=PROMPT, completion=MASK, elapsed_ms=1200, interactions=3, policy_id="hippo@0a1b"),
    Preference(**COMMON, prompt=PROMPT, chosen=MASK, rejected=OTHER, margin=0.25),
    Unpaired(**COMMON, prompt="p", completion="c", label=False),
    Ranking(
        **COMMON,
        prompt=PROMPT,
        completions=(MASK, OTHER, MASK),
        ranks=(2, 1, 2),
        presentation_order=(2, 0, 1),
        decision_ms=900,
        policy_ids=("a", "b", "c"),
        may_train=True,
    ),
    Intervention(
        **COMMON,
        prompt=PROMPT,
        step=1,
        case_index=4,
        voxels=MASK,
        label=0,
        proposed_action=MASK,
        executed_action=OTHER,
        retracted=True,
        first_of_event=False,
    ),
    Command(
        **COMMON, prompt=PROMPT, command="grow", observation=MASK, action=OTHER, outcome=CommandOutcome(0.8, False)
    ),
    Abstention(**COMMON, prompt=PROMPT, predicted_class="D", correct_class="A", reason="not_in_image"),
    Game(**COMMON, click_budget=5, first="new@1", second="old@2", result="draw", score_first=0.5, score_second=0.25),
)


def ranking(ranks, **changes):
    completions = tuple(f"answer {i}" for i in range(len(ranks)))
    return Ranking(**{**COMMON, "prompt": "p", "completions": completions, "ranks": tuple(ranks), **changes})


def test_there_is_an_example_of_every_kind():
    assert {record.kind for record in ONE_OF_EACH} == set(KINDS)


def test_every_kind_comes_back_from_a_manifest_as_it_was_written(tmp_path):
    path = tmp_path / "records.jsonl"
    write_records(path, ONE_OF_EACH)
    assert read_records(path) == ONE_OF_EACH
    assert all(json.loads(line)["schema"] == 1 for line in path.read_bytes().splitlines())


@pytest.mark.parametrize("record", ONE_OF_EACH, ids=lambda record: record.kind)
def test_an_unknown_key_a_missing_key_and_a_wrong_type_are_errors_of_every_kind(record):
    line = json.loads(to_line(record))
    with pytest.raises(RecordError, match="unknown key 'nickname'"):
        record_of({**line, "nickname": "x"})
    without = dict(line)
    del without["case_id"]
    with pytest.raises(RecordError, match="no key 'case_id'"):
        record_of(without)
    with pytest.raises(RecordError, match="may_train"):
        record_of({**line, "may_train": "yes"})
    with pytest.raises(RecordError, match="schema 2"):
        record_of({**line, "schema": 2})
    with pytest.raises(RecordError, match="unknown kind"):
        record_of({**line, "kind": "gossip"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("case_id", "/home/someone/scan.nii.gz"),
        ("case_id", "1.2.840.113619.2.55.3"),
        ("group_id", "Doe^John"),
        ("annotator", "Dr Jane Roe"),
        ("policy_id", "..\\x"),
        ("use_case", ""),
        ("record_id", "a\n"),
        ("created_utc", "yesterday"),
    ],
)
def test_names_that_could_hide_a_person_a_path_or_a_uid_are_refused_and_not_repeated(name, value):
    with pytest.raises(RecordError) as error:
        ranking((1, 2), **{name: value})
    assert name in str(error.value)
    if name != "created_utc" and len(value) > 3:
        assert value not in str(error.value)


@pytest.mark.parametrize(
    "path", ["/etc/passwd.npz", "../x.npz", "a/../../x.npz", "a\\b.npz", "x.pkl", "C:/x.npz", ".npz", "a/x.npy"]
)
def test_an_array_outside_the_manifest_s_folder_or_of_another_format_is_refused(path):
    with pytest.raises(RecordError):
        ArrayReference(path, "0" * 64)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ranks": (2, 3, 4)},
        {"ranks": (1, 2)},
        {"ranks": (0, 1, 2)},
        {"presentation_order": (0, 1, 1)},
        {"policy_ids": ("one",)},
        {"decision_ms": -1},
        {"prompt": None},
        {"amends": "same", "record_id": "same"},
        {"split": "test", "may_train": True},
    ],
)
def test_a_ranking_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(RecordError):
        replace(ranking((1, 2, 3)), **wrong)


def test_a_hint_outside_its_region_and_a_region_outside_its_volume_are_refused():
    with pytest.raises(RecordError, match="outside"):
        replace(PROMPT, hints=(Hint((8, 0, 0), True),))
    with pytest.raises(RecordError, match="region"):
        replace(GRID, start=(15, 0, 0))


def test_nan_never_enters_a_manifest(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        to_line(Preference(**COMMON, prompt="p", chosen="a", rejected="b", margin=float("nan")))
    path = tmp_path / "m.jsonl"
    path.write_bytes(to_line(ONE_OF_EACH[3]).replace(b"0.25", b"NaN"))
    with pytest.raises(RecordError, match="line 1"):
        read_records(path)


@pytest.mark.parametrize("garbage", [b"{\n", b"\xff\xfe\n", b"[]\n", b"7\n", b"[" * 100_000 + b"\n", b"\x00\x00\n"])
def test_a_broken_line_is_named_by_its_number(tmp_path, garbage):
    path = tmp_path / "m.jsonl"
    path.write_bytes(to_line(ONE_OF_EACH[0]) + garbage + to_line(ONE_OF_EACH[1]))
    with pytest.raises(RecordError, match="line 2"):
        read_records(path)


def test_a_line_that_a_power_cut_left_unfinished_does_not_count(tmp_path):
    path = tmp_path / "m.jsonl"
    whole, cut = to_line(ONE_OF_EACH[0]), to_line(ONE_OF_EACH[1])
    for n in range(len(cut)):
        path.write_bytes(whole + cut[:n])
        assert read_records(path) == ONE_OF_EACH[:1]


# ---- amends and use --------------------------------------------------------------------------------------------------


def test_the_latest_amendment_stands_at_the_place_of_the_first_record():
    first, other = ONE_OF_EACH[6], ONE_OF_EACH[8]
    again = replace(first, record_id="b", amends=first.record_id, retracted=False)
    last = replace(first, record_id="c", amends="b", step=2)
    assert effective([first, other, again, last]) == (last, other)


def test_an_amendment_of_nothing_or_of_another_kind_is_an_error():
    first = ONE_OF_EACH[6]
    with pytest.raises(RecordError, match="amends"):
        effective([replace(first, amends="nowhere")])
    with pytest.raises(RecordError, match="amends"):
        effective([ONE_OF_EACH[8], replace(first, amends=ONE_OF_EACH[8].record_id)])


def test_what_may_not_train_is_left_out_and_counted():
    free = replace(ONE_OF_EACH[2], may_train=True)
    blind = replace(free, prompt=replace(PROMPT, image=None))
    given = [free, blind, replace(free, may_train=False), replace(free, split="test", may_train=False)]
    found = usable(given, needs_image=True)
    assert found.records == (free,)
    assert found.skipped == {"image not stored": 1, "may not train": 1, "test patient": 1}
    assert len(usable(given, needs_image=False).records) == 2


# ---- conversions -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=2, max_size=9).map(lambda ranks: [r - min(ranks) + 1 for r in ranks]))
def test_a_ranking_gives_exactly_its_strict_pairs_under_one_record_id(ranks):
    source = ranking(ranks)
    pairs = to_preferences(source)
    strict = sum(a != b for i, a in enumerate(ranks) for b in ranks[:i])
    assert len(pairs) == strict
    assert {pair.record_id for pair in pairs} <= {source.record_id}
    order = {f"answer {i}": rank for i, rank in enumerate(ranks)}
    assert all(order[pair.chosen] < order[pair.rejected] for pair in pairs)


def test_a_pair_becomes_a_ranking_of_two_and_comes_back():
    pair = ONE_OF_EACH[3]
    found = to_ranking(pair)
    assert (found.completions, found.ranks, found.record_id) == ((pair.chosen, pair.rejected), (1, 2), pair.record_id)
    assert to_preferences(found) == (replace(pair, margin=None),)


def test_an_implicit_ranking_gives_pairs_only_when_asked():
    source = ranking((1, 2), implicit=True)
    assert to_preferences(source) == ()
    assert len(to_preferences(source, use_implicit=True)) == 1


def test_a_ranking_where_nothing_is_acceptable_still_gives_its_strict_pairs():
    assert len(to_preferences(ranking((1, 2, 2), none_acceptable=True))) == 2


def test_a_tsv_line_is_a_prompt_and_its_responses_from_best_to_worst(tmp_path):
    path = tmp_path / "ranked.tsv"
    path.write_text('刚收到货，感觉\t很好\t"quoted"\t差\r\n\nprompt\ta\tb\n', encoding="utf-8")
    one, two = read_tsv(path, **COMMON)
    assert (one.prompt, one.completions, one.ranks) == ("刚收到货，感觉", ("很好", '"quoted"', "差"), (1, 2, 3))
    assert (two.completions, two.presentation_order) == (("a", "b"), ())
    assert one.record_id != two.record_id
    path.write_text("p\ta\tb\np\tonly one\n", encoding="utf-8")
    with pytest.raises(RecordError, match="line 2"):
        read_tsv(path, **COMMON)


# ---- arrays ----------------------------------------------------------------------------------------------------------

ARRAYS = [
    np.random.default_rng(0).random((5, 6, 7)) > 0.5,
    np.arange(210, dtype=np.uint8).reshape(5, 6, 7),
    np.asfortranarray(np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)),
    np.full((3, 3, 3), -40, np.int8),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_an_array_comes_back_bit_for_bit_and_is_stored_once(tmp_path, array):
    reference, content = encoded(array)
    assert write_array(tmp_path, reference, content)
    assert not write_array(tmp_path, *encoded(array.copy()))
    back = read_array(tmp_path, reference)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_a_flipped_byte_a_missing_file_and_a_link_are_refused_by_name(tmp_path):
    reference, content = encoded(ARRAYS[1])
    with pytest.raises(RecordError, match="missing"):
        read_array(tmp_path, reference)
    write_array(tmp_path, reference, content)
    path = tmp_path / reference.path
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(RecordError, match="sha256"):
            read_array(tmp_path, reference)
    path.rename(tmp_path / "elsewhere.npz")
    path.symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(RecordError, match="missing"):
        read_array(tmp_path, reference)


def signed(tmp_path, content):
    """A file whose hash is right, whatever it holds."""
    import hashlib

    reference = ArrayReference("arrays/x.npz", hashlib.sha256(content).hexdigest())
    path = tmp_path / reference.path
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return reference


def npz(member, names=("array.npy",)):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, member)
    return buffer.getvalue()


def npy(shape, dtype="|u1", data=b""):
    buffer = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip",
        npz(b"not an array"),
        npz(npy((2, 2, 2), data=b"12345678"), names=("a.npy", "b.npy")),
        npz(npy((2, 2, 2), data=b"1234567")),
        npz(npy((2, 2, 2), data=b"123456789" * 600)),
        npz(npy((100_000, 100_000, 100_000))),
        npz(npy((-1, 2, 2))),
        npz(npy((1,), dtype="|O", data=b"cos\nsystem\n(S'false'\ntR.")),
        npz(npy((2, 2, 2), data=b"12345678"))[:-30],
    ],
)
def test_a_file_that_lies_about_its_content_is_one_line_and_takes_no_memory(tmp_path, content):
    reference = signed(tmp_path, content)
    with pytest.raises(RecordError, match=r"arrays/x\.npz"):
        read_array(tmp_path, reference)


def test_a_record_can_point_to_a_nifti_file(tmp_path):
    import hashlib

    import nibabel

    path = tmp_path / "m.nii.gz"
    nibabel.save(nibabel.Nifti1Image(ARRAYS[1], np.eye(4)), path)
    reference = ArrayReference("m.nii.gz", hashlib.sha256(path.read_bytes()).hexdigest())
    assert np.array_equal(read_array(tmp_path, reference), ARRAYS[1])
    cut = path.read_bytes()[:60]
    path.write_bytes(cut)
    with pytest.raises(RecordError, match="cannot be read"):
        read_array(tmp_path, ArrayReference("m.nii.gz", hashlib.sha256(cut).hexdigest()))


def test_the_record_types_need_nothing_but_the_standard_library():
    code = "import sys, medseg_rl.rlhf.records; print(*{'torch', 'numpy', 'scipy', 'nibabel'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
