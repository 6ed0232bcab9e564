"""Label tables: what is written comes back, and the tables of other programs are understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.errors import InputFileError, OutputError
from medseg_rl.imageio.label_tables import is_default, one_line, read_table, table_content, write_table
from medseg_rl.labels import Label, LabelMap

TABLE = LabelMap(
    (Label(7, "Left kidney, upper", (1, 2, 255)), Label(300, "Tumour", (0, 0, 0)), Label(1, "Ö", (9, 8, 7)))
)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=30)
TABLES = st.lists(
    st.tuples(st.integers(1, 65535), NAMES, st.tuples(*[st.integers(0, 255)] * 3)), min_size=1, unique_by=lambda t: t[0]
)


@pytest.mark.parametrize("name", ["t.json", "t.csv", "t.label", "t.txt"])
def test_a_table_comes_back_in_its_order_with_names_and_colours(tmp_path, name):
    write_table(tmp_path / name, TABLE)
    assert read_table(tmp_path / name) == TABLE


@pytest.mark.parametrize("suffix", [".json", ".csv", ".label"])
@given(entries=TABLES)
def test_any_table_comes_back_as_far_as_the_format_holds_names(tmp_path_factory, suffix, entries):
    table = LabelMap(tuple(Label(value, text, colour) for value, text, colour in entries))
    path = tmp_path_factory.mktemp("tables") / f"t{suffix}"
    path.write_bytes(table_content(path, table))
    for label in read_table(path).labels:
        wanted = table[label.value]
        named = wanted.name if suffix == ".json" else one_line(wanted.name)
        assert (label.name, label.colour) == (named or f"Label {label.value}", wanted.colour)
    assert read_table(path).values == table.values


def test_json_keeps_locks_and_layers(tmp_path):
    table = LabelMap((Label(-3, "Outside", (0, 0, 1), locked=True), Label(70000, "Late", (1, 1, 1), layer=2)))
    write_table(tmp_path / "t.json", table)
    assert read_table(tmp_path / "t.json") == table


def test_a_table_of_itk_snap_is_read(tmp_path):
    (tmp_path / "snap.label").write_text(
        '################\n# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL\n    0     0    0    0  0.00  0   0    "Clear"\n'
        '    4   255  255    0  1.00  1   1    "hippo-R"\n  210    12    0    9  0.50  0   1    "a "quoted" name"\n'
    )
    found = read_table(tmp_path / "snap.label").labels
    assert [(label.value, label.name, label.colour) for label in found] == [
        (4, "hippo-R", (255, 255, 0)),
        (210, 'a "quoted" name', (12, 0, 9)),
    ]


def test_a_colour_table_of_slicer_is_read_with_its_terminology_left_out(tmp_path):
    (tmp_path / "s.csv").write_text(
        "LabelValue,Name,Color_R,Color_G,Color_B,Color_A,Category_CodingScheme\n"
        "1,left_kidney,185,102,83,255,SCT\n0,background,0,0,0,0,\n6,,144,238,144,255,SCT\n9,no colour,,,,,\n"
    )
    table = read_table(tmp_path / "s.csv")
    assert table[1] == Label(1, "left_kidney", (185, 102, 83))
    assert table[6].name == "Label 6"
    assert table.values == (1, 6, 9)


def test_an_older_colour_table_of_slicer_is_read(tmp_path):
    (tmp_path / "s.ctbl").write_text(
        "# Color table file x.ctbl\n# 2 values\n0 Background 0 0 0 0\n3 soft_tissue 1 2 3 255\n"
    )
    assert read_table(tmp_path / "s.ctbl") == LabelMap((Label(3, "soft tissue", (1, 2, 3)),))


def test_the_table_of_the_itk_snap_case_is_read(io_cases: Path):
    table = read_table(io_cases / "itksnap" / "MRIcrop-seg.label")
    assert table[4] == Label(4, "hippo-R", (255, 255, 0))
    assert set(range(1, 9)) <= set(table.values)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "Expecting"),
        ("a.json", '{"labels": []}', "format"),
        ("a.json", json.dumps({"format": "medseg-rl labels", "version": 9, "labels": []}), "version is 9"),
        ("a.json", json.dumps({"format": "medseg-rl labels", "version": 1}), "no 'labels'"),
        ("a.json", json.dumps({"format": "medseg-rl labels", "version": 1, "labels": [3]}), "subscriptable"),
        (
            "a.json",
            '{"format":"medseg-rl labels","version":1,"labels":[{"value":1.5,"name":"","colour":[1,2,3]}]}',
            "1.5",
        ),
        ("a.json", "{" * 100000, "Expecting"),
        ("a.csv", "LabelValue,Name\nx,y\n", "invalid literal"),
        ("a.csv", "LabelValue,Name\n1,a\n1,b\n", "value of its own"),
        ("a.csv", f"LabelValue,Name\n{10**30},a\n", "beyond any label"),
        ("a.label", "1 2 3\n", "line 1"),
        ("a.label", '1 2 3 400 1 1 1 "x"\n', "from 0 to 255"),
        ("a.label", "# nothing\n", "no label but background"),
        ("a.label", "", "no label but background"),
        ("a.ctbl", "\x00\xff\x00", "line 1"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(InputFileError, match=said) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_or_endless_table_is_refused(tmp_path):
    with pytest.raises(InputFileError, match="no file"):
        read_table(tmp_path / "none.csv")
    with (tmp_path / "long.csv").open("wb") as stream:
        stream.truncate(9 << 20)
    with pytest.raises(InputFileError, match="too long"):
        read_table(tmp_path / "long.csv")


def test_a_value_that_the_format_cannot_hold_is_refused_and_the_old_table_stays(tmp_path):
    write_table(tmp_path / "t.csv", TABLE)
    with pytest.raises(OutputError, match=r"not 70000; write \.json"):
        write_table(tmp_path / "t.csv", LabelMap((Label(70000, "x", (0, 0, 0)),)))
    assert read_table(tmp_path / "t.csv") == TABLE
    with pytest.raises(OutputError, match="ends in"):
        write_table(tmp_path / "t.xml", TABLE)


def test_a_table_of_defaults_says_nothing_new():
    assert is_default(LabelMap.of_values((1, 300)))
    assert not is_default(TABLE)
    assert not is_default(LabelMap.of_values((1,)).changing(1, locked=True))
