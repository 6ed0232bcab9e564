"""The journal as files: session files that strangers may have made, deltas, values, lines, locks and names of cases."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.errors import InputFileError, MedSegError, OutputError
from medseg_rl.history import BoxDelta
from medseg_rl.journal import CaseBusyError, CaseFolder, case_id, discard_case, find_cases, patient_id
from medseg_rl.journal.case_lock import CaseLock, Holder
from medseg_rl.journal.container import Container, json_part, write_container
from medseg_rl.journal.deltas import check_fits, digest_of, packed, record, records, unpacked
from medseg_rl.journal.formats import FORMAT, FORMAT_VERSION, checked_version, migrated
from medseg_rl.journal.lines import DeltaIndex, JournalWriter, decoded_line, encoded_line, read_journal, read_lines
from medseg_rl.journal.values import ValueReader, ValueWriter, expanded
from medseg_rl.labels import Label, LabelMap
from medseg_rl.volume import Box


def delta(seed=0, shape=(4, 5, 6), start=(1, 2, 3), dtype=np.uint8):
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 90, shape).astype(dtype)
    after = np.where(rng.random(shape) < 0.4, before + 1, before).astype(dtype)
    return BoxDelta.encode(start, before, after)


def same(one, other):
    return packed(one) == packed(other) and one.box == other.box and one.dtype == other.dtype


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# --- session files ----------------------------------------------------------------------------------------------------


def test_parts_come_back_as_they_were_written(tmp_path):
    parts = {"session.json": json_part({"a": [1, 2.5, None]}), "state/array-0.bin": lambda: (b"xy", b"z" * 1000)}
    write_container(tmp_path / "a.medseg", parts)
    with Container.open(tmp_path / "a.medseg") as container:
        assert container.json("session.json") == {"a": [1, 2.5, None]}
        with container.opened("state/array-0.bin", 1002) as handle:
            assert handle.read() == b"xy" + b"z" * 1000
    assert (tmp_path / "a.medseg").stat().st_size < 700


def test_two_files_of_the_same_parts_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_container(tmp_path / name, {"session.json": b"{}"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "name",
    ["../session.json", "/session.json", "state/../../x.json", "state\\x.json", "C:x.json", "a/b/c.json", "", "X.json"],
)
def test_a_part_with_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.medseg", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name or "state/"), b"{}")
    with pytest.raises(InputFileError, match=r"a\.medseg"), Container.open(tmp_path / "a.medseg"):
        pass
    assert names_in(tmp_path) == ["a.medseg"]


def test_two_parts_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.medseg", "w") as archive:
        archive.writestr("session.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("session.json", b"[]")
    with pytest.raises(InputFileError, match="one name"), Container.open(tmp_path / "a.medseg"):
        pass


def test_a_json_part_may_not_be_packed_so_that_it_takes_no_more_memory_than_its_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.medseg", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("session.json", b"[" + b"0," * 10**6 + b"0]")
    with Container.open(tmp_path / "a.medseg") as container, pytest.raises(InputFileError, match="packed"):
        container.json("session.json")


def test_an_array_part_of_another_size_than_its_box_is_never_unpacked(tmp_path):
    write_container(tmp_path / "a.medseg", {"array-0.bin": b"\0" * 10**7})
    with Container.open(tmp_path / "a.medseg") as container, pytest.raises(InputFileError, match="10000000 bytes"):
        container.opened("array-0.bin", 100).__enter__()


def _patched(path, field, value):
    """The same zip with one number of its table of contents changed."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02") + {"method": 10, "flags": 8, "packed": 20, "size": 24, "offset": 42}[field]
    struct.pack_into("<H" if field in ("method", "flags") else "<I", content, at, value)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("method", 12, "unknown kind"),
        ("flags", 1, "encrypted"),
        ("packed", 10**6, "overlaps"),
        ("size", 2**31, "impossible size"),
        ("offset", 2**30, "overlaps"),
    ],
)
def test_a_table_of_contents_that_lies_is_refused(tmp_path, field, value, told):
    path = tmp_path / "a.medseg"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("session.json", b"{}" * 50)
    _patched(path, field, value)
    with pytest.raises(InputFileError, match=told), Container.open(path):
        pass


@given(st.data())
def test_a_file_with_changed_bytes_gives_its_parts_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mutated") / "a.medseg"
    write_container(path, {"session.json": json_part({"a": list(range(50))}), "array-0.bin": bytes(range(256)) * 8})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        with Container.open(path) as container:
            assert container.json("session.json") == {"a": list(range(50))}
    except InputFileError as error:
        assert "\n" not in str(error)  # noqa: PT017  (an error is one of two right outcomes)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + b"\0" * 18, b"no zip at all", b"PK\x03\x04" * 9])
def test_what_is_no_session_file_is_told_in_one_line(tmp_path, content):
    (tmp_path / "a.medseg").write_bytes(content)
    with pytest.raises(InputFileError, match=r"a\.medseg"), Container.open(tmp_path / "a.medseg") as container:
        checked_version(container.json("session.json"))


# --- deltas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_a_delta_comes_back_bit_for_bit(dtype):
    found = unpacked(packed(delta(dtype=dtype)))
    array = np.zeros((9, 9, 9), dtype)
    delta(dtype=dtype).revert(array)
    expected = array.copy()
    found.apply(array)
    found.revert(array)
    assert same(found, delta(dtype=dtype))
    np.testing.assert_array_equal(array, expected)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_delta_with_a_changed_byte_is_the_same_or_refused(at, value):
    payload = bytearray(packed(delta()))
    payload[at % len(payload)] = value
    try:
        found = unpacked(bytes(payload))
    except InputFileError:
        return
    check_fits(found, (2**20, 2**20, 2**20), found.dtype)
    found.apply(np.zeros((300, 300, 300), found.dtype)) if max(found.box.stop) <= 300 else None


def _forged(**changes):
    return packed(replace(delta(), **changes))


BOMB = zlib.compress(bytes(10**7), 9)


@pytest.mark.parametrize(
    "payload",
    [
        _forged(voxels=3),
        _forged(voxels=10**9),
        _forged(box=Box((1, 2, 3), (2000, 2000, 2000))),
        _forged(box=Box((-1, 2, 3), (3, 7, 9))),
        _forged(changed=BOMB),
        _forged(old=BOMB),
        _forged(new=delta().new + b"more"),
        _forged(new=b""),
        packed(delta()).replace(b"|u1", b"|O "),
        b"{}\n",
        b"[" * 400,
        b"",
    ],
)
def test_a_forged_delta_is_refused_before_it_unpacks_to_more_than_it_should(payload):
    with pytest.raises(InputFileError):
        unpacked(payload)


def test_a_delta_beyond_its_array_or_of_another_type_is_refused():
    with pytest.raises(InputFileError, match="another image"):
        check_fits(delta(), (4, 9, 9), np.dtype(np.uint8))
    with pytest.raises(InputFileError, match="uint16"):
        check_fits(delta(), (9, 9, 9), np.dtype(np.uint16))


def test_records_end_where_one_was_cut_off_or_changed():
    payloads = [packed(delta(seed)) for seed in range(3)]
    content = b"".join(record(payload) for payload in payloads)
    assert [name for name, _ in records(io.BytesIO(content))] == [digest_of(payload) for payload in payloads]
    assert len(list(records(io.BytesIO(content[:-1])))) == 2
    damaged = bytearray(content)
    damaged[len(record(payloads[0])) + 60] ^= 1
    assert len(list(records(io.BytesIO(bytes(damaged))))) == 1


# --- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    number: int
    part: float | None = None
    name: str = "none"


@dataclass(frozen=True, eq=False)
class Large:
    labels: LabelMap
    parts: tuple[Small, ...]
    box: Box | None
    by_value: MappingProxyType[int, Small] | None
    change: BoxDelta | None = None
    inner: Large | None = None


def values_of(writer):
    rows, deltas = writer.taken()
    reader = ValueReader(lambda digest: unpacked(deltas[digest]))
    reader.extend(json.loads(json.dumps(rows)))
    return reader


def test_values_come_back_as_they_were():
    shared = Small(np.int64(3), 0.1 + 0.2)
    table = LabelMap((Label(7, "Läsion", (1, 2, 3), locked=True), Label(300, "b", (0, 0, 0), layer=2)))
    value = Large(table, (shared, Small(-1)), Box((0, 1, 2), (3, 4, 5)), MappingProxyType({5: shared}), delta())
    value = replace(value, inner=value)
    writer = ValueWriter()
    reference = writer.reference(value)
    found = values_of(writer).value(Large, reference)
    assert expanded(found) == expanded(value)
    assert found.labels == table
    assert found.parts[0] is found.by_value[5]
    assert found.inner.change is not None


def test_what_was_given_once_is_not_given_again():
    writer, value = ValueWriter(), LabelMap.of_values(range(1, 9))
    writer.reference(value)
    assert len(writer.taken()[0]) == 9
    writer.reference(value.changing(3, name="other"))
    rows, _ = writer.taken()
    assert len(rows) == 2  # the table and the label that changed


def test_a_writer_keeps_no_value_alive_and_takes_no_other_for_it():
    writer = ValueWriter()
    numbers = [writer.reference(Small(n)) for n in range(500)]  # each may lie where the last one lay
    rows, _ = writer.taken()
    assert [rows[number]["number"] for number in numbers] == list(range(500))


@pytest.mark.parametrize(
    ("rows", "reference"),
    [
        ([{"number": "x"}], 0),
        ([{"number": True}], 0),
        ([{}], 0),
        ([{"number": 1, "colour": 2}], 0),
        ([{"number": 1, "part": "x"}], 0),
        ([{"number": 1}], 1),
        ([{"number": 1}], -1),
        ([{"number": 1}], "0"),
        ([{"number": 1}], None),
        ([{"number": 1}], [0]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(rows, reference):
    reader = ValueReader(lambda digest: delta())
    reader.extend(rows)
    with pytest.raises(InputFileError, match="Small"):
        reader.value(Small, reference)


def test_a_value_that_holds_itself_is_refused():
    reader = ValueReader(lambda digest: delta())
    reader.extend([{"labels": 1, "parts": [], "box": None, "by_value": None, "inner": 0}, {"labels": []}])
    with pytest.raises(InputFileError, match="Large"):
        reader.value(Large, 0)


def test_values_of_a_later_program_are_refused_and_those_of_an_earlier_one_brought_up():
    with pytest.raises(InputFileError, match="update"):
        checked_version({"format": FORMAT, "version": FORMAT_VERSION + 1})
    with pytest.raises(InputFileError, match="reads up to"):
        migrated([], FORMAT_VERSION + 1)
    row = {"labels": 0, "works": [[4, 1], [2, 3]], "written": [["model", 12]]}
    assert migrated([row, {"number": 1}], 1) == [{**row, "written": [[4, [["model", 12]]]]}, {"number": 1}]


# --- lines ------------------------------------------------------------------------------------------------------------


def test_a_line_is_json_and_knows_whether_it_is_whole():
    line = encoded_line({"sequence": 3, "name": "Läsion"})
    assert json.loads(line)["name"] == "Läsion"
    assert decoded_line(line) == {"sequence": 3, "name": "Läsion"}
    for cut in range(1, len(line)):
        assert decoded_line(line[:cut]) is None
    assert decoded_line(line.replace(b"3", b"4", 1)) is None


def test_lines_after_a_damaged_one_are_not_read():
    lines = [encoded_line({"sequence": n}) for n in range(4)]
    text = read_journal(io.BytesIO(lines[0] + lines[1][:-9] + b"\n" + lines[2] + lines[3]))
    assert [line["sequence"] for line in text.lines] == [0]
    assert text.good_bytes == len(lines[0])
    assert text.lost_bytes > len(lines[2])


def test_a_journal_goes_on_after_what_a_crash_cut_off(tmp_path):
    lines, deltas = tmp_path / "j.jsonl", tmp_path / "j.deltas"
    one, two = packed(delta(1)), packed(delta(2))
    writer = JournalWriter(lines, deltas)
    writer.append([encoded_line({"sequence": 1})], {digest_of(one): one})
    writer.close()
    with lines.open("ab") as handle:
        handle.write(encoded_line({"sequence": 2})[:20])
    with deltas.open("ab") as handle:
        handle.write(record(two)[:-5])
    writer = JournalWriter(lines, deltas)
    writer.append([encoded_line({"sequence": 2})], {digest_of(two): two, digest_of(one): one})
    assert writer.digest == read_lines(lines).digest
    writer.close()
    assert [line["sequence"] for line in read_lines(lines).lines] == [1, 2]
    index = DeltaIndex(deltas)
    assert index.digests == {digest_of(one), digest_of(two)}
    assert same(index.delta(digest_of(two)), delta(2))
    assert deltas.stat().st_size == len(record(one)) + len(record(two))


class FullDisk:
    """A file that takes so many bytes and no more, as a full disk does."""

    def __init__(self, handle, room):
        self.handle, self.room = handle, room

    def write(self, content):
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self.handle.write(bytes(content)[: self.room])
        self.room -= count
        return count

    def __getattr__(self, name):
        return getattr(self.handle, name)


@pytest.mark.parametrize("room", [0, 7])
def test_on_a_full_disk_nothing_is_added_and_the_journal_goes_on_when_there_is_room(tmp_path, room):
    lines, deltas = tmp_path / "j.jsonl", tmp_path / "j.deltas"
    writer, payload = JournalWriter(lines, deltas), packed(delta())
    writer.append([encoded_line({"sequence": 1})], {})
    before, handle = lines.read_bytes(), writer._lines.handle
    writer._lines.handle = FullDisk(handle, room)
    with pytest.raises(OutputError, match="No space left"):
        writer.append([encoded_line({"sequence": 2})], {digest_of(payload): payload})
    assert lines.read_bytes() == before
    assert deltas.stat().st_size == 0
    writer._lines.handle = handle
    writer.append([encoded_line({"sequence": 2})], {digest_of(payload): payload})
    assert writer.digest == read_lines(lines).digest
    writer.close()
    assert len(read_lines(lines).lines) == 2
    assert len(DeltaIndex(deltas).digests) == 1


# --- names, locks, folders --------------------------------------------------------------------------------------------


def test_a_case_has_one_name_on_one_computer_and_another_elsewhere(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    assert case_id("ab", here) == case_id("ab", here)
    assert case_id("ab", here) != case_id("ac", here)
    assert case_id("ab", here) != case_id("ab", there)
    assert len(case_id("ab", here)) == len("case-") + 8
    if os.name != "nt":
        assert (here / "case-salt").stat().st_mode & 0o077 == 0


def test_a_damaged_salt_is_told(tmp_path):
    (tmp_path / "case-salt").write_text("salt")
    with pytest.raises(InputFileError, match="no salt"):
        case_id("ab", tmp_path)


def test_a_case_is_open_once_and_free_again_after_a_close(tmp_path):
    first = CaseFolder(tmp_path / "case-00000001")
    with pytest.raises(CaseBusyError, match=f"process {os.getpid()}"):
        CaseFolder(tmp_path / "case-00000001")
    first.close()
    CaseFolder(tmp_path / "case-00000001").close(remove=True)
    assert names_in(tmp_path) == []


def test_a_case_is_open_in_another_process_until_it_dies(tmp_path):
    code = "from medseg_rl.journal import CaseFolder; from pathlib import Path; import sys, time\n"
    code += f"case = CaseFolder(Path({str(tmp_path)!r}) / 'case-00000001'); print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(CaseBusyError, match=f"process {other.pid}"):
            CaseFolder(tmp_path / "case-00000001")
        other.kill()
        other.wait()
    lock = CaseLock.take(tmp_path / "case-00000001" / "lock")
    assert lock.left_by is not None
    assert lock.left_by.pid == other.pid
    lock.release()
    lock = CaseLock.take(tmp_path / "case-00000001" / "lock")
    assert lock.left_by is None  # a clean end leaves nothing that looks like a crash
    lock.release()


def test_a_process_is_known_by_its_number_and_start():
    me = Holder.this_process()
    assert me.is_alive
    if sys.platform == "linux":
        assert not replace(me, started="1").is_alive  # the number was given to another
    assert not Holder(2**22 + 12345, "").is_alive


def test_where_a_file_system_knows_no_locks_the_living_process_decides(tmp_path, monkeypatch):
    monkeypatch.setattr("medseg_rl.journal.case_lock._lock", lambda handle: None)
    first = CaseLock.take(tmp_path / "lock")
    with pytest.raises(CaseBusyError):
        CaseLock.take(tmp_path / "lock")
    first.release()
    (tmp_path / "lock").write_text(json.dumps({"pid": 2**22 + 12345, "started": "9"}))
    CaseLock.take(tmp_path / "lock").release()


def _with_steps(folder, count):
    case = CaseFolder(folder)
    lines = [encoded_line({"kind": "action", "sequence": n + 1, "time": f"2026-01-0{n + 1}"}) for n in range(count)]
    case.journal.append(lines, {})
    return case


def test_cases_with_unsaved_steps_are_found_unless_somebody_has_them_open(tmp_path):
    _with_steps(tmp_path / "case-00000001", 2).close()
    saved = _with_steps(tmp_path / "case-00000002", 1)
    saved.journal.append([encoded_line({"kind": "saved", "sequence": 1})], {})
    saved.close()
    (tmp_path / "case-notes").mkdir()
    busy = _with_steps(tmp_path / "case-00000003", 3)
    found = find_cases(tmp_path)
    assert [(case.case_id, case.unsaved_steps, case.last_utc) for case in found] == [("case-00000001", 2, "2026-01-02")]
    busy.close()
    assert [case.case_id for case in find_cases(tmp_path)] == ["case-00000003", "case-00000001"]


def test_what_was_discarded_is_not_offered_again(tmp_path):
    _with_steps(tmp_path / "case-00000001", 2).close()
    discard_case(tmp_path / "case-00000001")
    assert find_cases(tmp_path) == ()
    assert names_in(tmp_path / "case-00000001") == ["lock"]


def test_a_discard_that_was_cut_short_is_finished_by_the_next_who_opens_the_case(tmp_path):
    case = _with_steps(tmp_path / "case-00000001", 2)
    case.base(2).write_bytes(b"a generation")
    case.journal.append([encoded_line({"kind": "discarded"})], {})
    case.close()
    assert find_cases(tmp_path) == ()
    CaseFolder(tmp_path / "case-00000001").close()
    assert names_in(tmp_path / "case-00000001") == ["lock"]


def test_places_are_kept_apart_from_journal_and_generations(tmp_path):
    case = CaseFolder(tmp_path / "case-00000001")
    case.set_places(image=tmp_path / "Mustermann.nii.gz")
    case.set_places(session=tmp_path / "x.medseg")
    assert case.places() == {"image": tmp_path / "Mustermann.nii.gz", "session": tmp_path / "x.medseg"}
    case.journal.append([encoded_line({"kind": "saved", "sequence": 1})], {})
    assert b"Mustermann" not in case.lines.read_bytes()
    case.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="a folder cannot be made read-only for this user")
def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MedSegError, match="cannot make"):
        CaseFolder(tmp_path / "case-00000001")
    tmp_path.chmod(0o700)


def test_a_patient_is_named_by_a_salted_hash_that_differs_between_computers(tmp_path):
    known = hashlib.sha256(b"issuer\nMarkedID").hexdigest()
    name = patient_id(known, tmp_path / "here")
    assert re.fullmatch(r"patient-[0-9a-f]{8}", name)
    assert name == patient_id(known, tmp_path / "here") != patient_id(known, tmp_path / "there")
    assert name[-8:] not in (known[:8], case_id(known, tmp_path / "here")[-8:])
