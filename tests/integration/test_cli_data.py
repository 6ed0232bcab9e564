"""`medseg-rl data`: a task fetched from a server of the test, folders of every layout, and what is wrong with one."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest

from medseg_rl.dataset import load_dataset
from medseg_rl.dataset.download import download_task, find_task
from medseg_rl.errors import Cancelled, InputFileError

if TYPE_CHECKING:
    from conftest import Desk

SHAPE = (8, 8, 8)
TASK = "Task04_Hippocampus"


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 10, SHAPE).astype(np.float32)


def label(value: int = 1) -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    out[2:5, 2:5, 2:5] = value
    return out


def decathlon(folder: Path, ids: list[str]) -> Path:
    for seed, name in enumerate(ids):
        save(folder / "imagesTr" / f"{name}.nii.gz", image(seed))
        save(folder / "labelsTr" / f"{name}.nii.gz", label())
    listed = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in ids]
    about = {"name": folder.name, "modality": {"0": "MRI"}, "licence": "CC0", "labels": {"0": "none", "1": "it"}}
    (folder / "dataset.json").write_text(json.dumps(about | {"numTraining": len(ids), "training": listed}))
    return folder


def nnunet(folder: Path) -> Path:
    for seed in range(5):
        for channel in (0, 1):
            save(folder / "imagesTr" / f"liver_{seed}_{channel:04d}.nii.gz", image(10 * seed + channel))
        save(folder / "labelsTr" / f"liver_{seed}.nii.gz", label(2))
    about = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "liver": 1, "tumour": 2}}
    (folder / "dataset.json").write_text(json.dumps(about | {"numTraining": 5, "file_ending": ".nii.gz"}))
    return folder


def brats(folder: Path) -> Path:
    for seed in range(6):  # two visits of each of three
        name = f"BraTS-GLI-0000{seed // 2}-00{seed % 2}"
        for number, what in enumerate(("t1c", "t1n", "t2f", "t2w")):
            save(folder / name / f"{name}-{what}.nii.gz", image(10 * seed + number))
        save(folder / name / f"{name}-seg.nii.gz", label(3))
    return folder


def old_brats(folder: Path) -> Path:
    for seed in range(3):
        name = f"BraTS20_Training_00{seed}"
        for number, what in enumerate(("t1", "t1ce", "t2", "flair")):
            save(folder / name / f"{name}_{what}.nii", image(10 * seed + number))
        save(folder / name / f"{name}_seg.nii", label(4))
    return folder


def plain(folder: Path) -> Path:
    for seed in range(4):
        save(folder / "images" / f"sub-{seed}_ses-1_T1w.nii.gz", image(seed))
        save(folder / "images" / f"sub-{seed}_ses-2_T1w.nii.gz", image(seed + 100))
        for visit in (1, 2):
            save(folder / "labels" / f"sub-{seed}_ses-{visit}_T1w_mask.nii.gz", label())
    return folder


LAYOUTS = {
    "nnU-Net": (nnunet, 5, 5, "CT"),
    "BraTS": (brats, 6, 3, "MR"),
    "plain folders": (plain, 8, 4, None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_is_taken_as_it_is_and_split_by_subject_the_same_way_each_time(tmp_path: Path, layout: str) -> None:
    build, cases, subjects, modality = LAYOUTS[layout]
    folder = build(tmp_path / "set")
    dataset = load_dataset(folder)
    assert dataset.layout == layout
    assert dataset.split_drawn
    assert (len(dataset), len({case.group for case in dataset})) == (cases, subjects)
    assert len({(case.group, case.split) for case in dataset}) == subjects
    assert {case.split for case in dataset} == {"train", "val", "test"}
    assert dataset.split_hash == load_dataset(folder).split_hash
    volume, reference = dataset.all_cases[0].load()
    assert volume.modality == modality
    assert reference.sum() == 27


def test_the_channel_is_chosen_by_number_or_name(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "set")
    by_name, by_number, first = (load_dataset(folder, channel=c) for c in ("pet", "1", None))
    assert by_name.data_hash == by_number.data_hash != first.data_hash
    assert by_name.labels == {0: "background", 1: "liver", 2: "tumour"}
    assert by_name.all_cases[0].modality == "PT"
    with pytest.raises(InputFileError, match=r"no channel 'MR'; it has 0 \(CT\), 1 \(PET\)"):
        load_dataset(folder, channel="MR")


def test_the_volume_of_a_file_with_several_is_the_channel_of_the_decathlon(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "set", list("abc"))
    for name in "abc":
        save(folder / "imagesTr" / f"{name}.nii.gz", np.stack([image(0), image(1) + 500], -1))
    about = json.loads((folder / "dataset.json").read_text()) | {"modality": {"0": "FLAIR", "1": "T1w"}}
    (folder / "dataset.json").write_text(json.dumps(about))
    first, second = (load_dataset(folder, channel=c).all_cases[0].load()[0] for c in (None, "t1w"))
    assert first.array.mean() < 200 < second.array.mean()
    assert second.modality == "MR"


def test_older_brats_gives_flair_unless_told_otherwise(tmp_path: Path) -> None:
    folder = old_brats(tmp_path)
    assert load_dataset(folder).all_cases[0].image_path.name.endswith("_flair.nii")
    assert load_dataset(folder, channel="T1ce").all_cases[0].image_path.name.endswith("_t1ce.nii")


def test_a_first_nnunet_lists_images_without_their_channel(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "set", list("abc"))
    for path in list((folder / "imagesTr").iterdir()):
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    dataset = load_dataset(folder)
    assert dataset.layout == "nnU-Net"
    assert [case.id for case in dataset] == ["a", "b", "c"]


def test_a_file_without_its_partner_is_named_and_counted(tmp_path: Path) -> None:
    folder = plain(tmp_path / "set")
    for name in ("sub-0_ses-1_T1w", "sub-1_ses-1_T1w"):
        (folder / "images" / f"{name}.nii.gz").unlink()
    with pytest.raises(InputFileError, match=r"sub-0_ses-1_T1w_mask.nii.gz has no image in images \(2 such in all\)"):
        load_dataset(folder)


def test_the_split_of_a_file_comes_before_all(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "set", list("abc"))
    path = tmp_path / "my.json"
    path.write_text(json.dumps({"train": ["c"], "val": ["b"], "test": ["a"]}))
    dataset = load_dataset(folder, splits=path)
    assert [case.split for case in dataset] == ["test", "val", "train"]
    assert not dataset.split_drawn


@pytest.mark.parametrize("build", [nnunet, brats, plain])
def test_a_sound_folder_passes_the_check(desk: Desk, tmp_path: Path, build: Callable[[Path], Path]) -> None:
    answer = desk.run("data", "check", build(tmp_path / "set"), "--json")
    assert answer.code == 0
    assert answer.json["usable"]
    assert answer.json["findings"] == []
    assert sum(answer.json["splits"].values()) == answer.json["cases"]


def test_the_check_lists_everything_that_is_wrong(desk: Desk, tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "set", list("abcdefgh"))
    (folder / "imagesTr" / "a.nii.gz").write_bytes(b"no image")
    save(folder / "labelsTr" / "b.nii.gz", np.ones((8, 8, 7), np.uint8))
    moved = np.eye(4)
    moved[0, 3] = 30
    save(folder / "labelsTr" / "c.nii.gz", label(), moved)
    save(folder / "labelsTr" / "d.nii.gz", np.zeros(SHAPE, np.uint8))
    save(folder / "labelsTr" / "e.nii.gz", label(7))
    shutil.copy(folder / "imagesTr" / "f.nii.gz", folder / "imagesTr" / "g.nii.gz")
    (folder / "labelsTr" / "h.nii.gz").unlink()
    spoilt = image(0)
    spoilt[0, 0, 0] = np.nan
    save(folder / "imagesTr" / "e.nii.gz", spoilt)
    splits = {"train": ["a", "b", "c", "f"], "val": ["d", "g"], "test": ["e"], "groups": {"a": "x", "d": "x"}}
    (folder / "splits.json").write_text(json.dumps(splits))
    answer = desk.run("data", "check", folder, "--json")
    assert answer.code == 3
    found = {(f["case"], f["kind"], f["fatal"]) for f in answer.json["findings"]}
    assert found == {
        ("", "pair", True),
        ("a", "unreadable", True),
        ("b", "grid", True),
        ("c", "grid", True),
        ("d", "empty", False),
        ("e", "values", False),
        ("e", "unreadable", True),
        ("", "subject", True),
        ("g", "subject", True),
    }
    table = desk.run("data", "check", folder)
    assert table.code == 3
    for said in (
        "h.nii.gz is listed",
        "label is empty",
        "subject x is in two splits",
        "the same image file",
        "not usable",
    ):
        assert said in " ".join(table.stdout.split())


def test_a_folder_of_no_layout_is_refused_in_one_line(desk: Desk, tmp_path: Path) -> None:
    answer = desk.run("data", "check", tmp_path / "nothing")
    assert answer.code == 3
    assert "dataset.json, imagesTr and labelsTr, or case folders" in answer.stderr


def test_an_evaluation_takes_plain_folders_and_writes_its_split_down(desk: Desk, tmp_path: Path) -> None:
    folder, out = plain(tmp_path / "set"), tmp_path / "out"
    arguments = ("evaluate", "--data", folder, "--method", "paint_ball:radius_mm=2", "-o", out, "--clicks", 1)
    answer = desk.run(*arguments, "--json")
    assert answer.code == 0, answer.stderr
    written = load_dataset(folder, splits=out / "splits.json")
    assert written.split_hash == load_dataset(folder).split_hash
    again = desk.run(*arguments, "--splits", out / "splits.json", "--json")
    assert again.code == 0, again.stderr


@dataclass
class Place:
    """A server of files. `cut`: the next answer ends after that many bytes. `asked`: paths and ranges."""

    address: str
    folder: Path
    cut: list[int] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A task of ten cases as an archive on a server of this machine; MONAI is told its checksum."""
    made = Place("", tmp_path / "server")
    made.folder.mkdir()
    task = decathlon(tmp_path / "made" / TASK, [f"hippocampus_{n:03d}" for n in range(1, 11)])
    (task / "imagesTr" / "._hippocampus_001.nii.gz").write_bytes(b"left by a Mac")
    with tarfile.open(made.folder / f"{TASK}.tar", "w") as archive:
        archive.add(task, TASK)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            made.asked.append((self.path, wanted))
            path = made.folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            self.wfile.write(content[begin:][: made.cut.pop() if made.cut else None])

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    from monai.apps.datasets import DecathlonDataset

    digest = hashlib.md5((made.folder / f"{TASK}.tar").read_bytes()).hexdigest()
    monkeypatch.setitem(DecathlonDataset.md5, TASK, digest)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_task_is_fetched_checked_unpacked_and_split_with_its_pairs_together(desk: Desk, place: Place) -> None:
    out = desk.folder / "data"
    answer = desk.run("data", "get", "hippocampus", "-o", out, "--mirror", place.address, "--json")
    assert answer.code == 0, answer.stderr
    assert answer.json["cases"] == 10
    dataset = load_dataset(out / TASK)
    assert len({case.group for case in dataset}) == 5
    assert dataset.case("hippocampus_001").group == dataset.case("hippocampus_002").group
    assert not (out / f"{TASK}.tar").exists()
    asked = len(place.asked)
    assert desk.run("data", "get", "4", "-o", out, "--mirror", place.address).code == 0
    assert len(place.asked) == asked
    assert desk.run("data", "check", out / TASK).code == 0


def test_a_broken_download_goes_on_where_it_broke(desk: Desk, place: Place) -> None:
    out, half = desk.folder / "data", 5000
    place.cut.append(half)
    first = desk.run("data", "get", TASK, "-o", out, "--mirror", place.address)
    assert first.code == 3
    assert "goes on from there" in first.stderr
    assert (out / f"{TASK}.tar.part").stat().st_size == half
    assert desk.run("data", "get", TASK, "-o", out, "--mirror", place.address).code == 0
    assert place.asked[-1] == (f"/{TASK}.tar", f"bytes={half}-")
    assert len(load_dataset(out / TASK)) == 10


def test_a_stopped_download_keeps_what_it_has_and_shows_how_far_it_is(place: Place, tmp_path: Path) -> None:
    shown: list[tuple[int, int]] = []
    with pytest.raises(Cancelled, match="goes on from there"):
        download_task(
            TASK, tmp_path / "out", mirror=place.address, progress=lambda *at: shown.append(at), cancel=lambda: True
        )
    size = (place.folder / f"{TASK}.tar").stat().st_size
    assert shown[0] == (0, size)
    assert shown[-1][0] == (tmp_path / "out" / f"{TASK}.tar.part").stat().st_size > 0


def test_an_archive_of_another_checksum_is_refused_and_fetched_anew(desk: Desk, place: Place) -> None:
    out, archive = desk.folder / "data", place.folder / f"{TASK}.tar"
    good = archive.read_bytes()
    archive.write_bytes(good[:-600] + b"x" * 600)
    answer = desk.run("data", "get", TASK, "-o", out, "--mirror", place.address)
    assert answer.code == 3
    assert "checksum" in answer.stderr
    assert not (out / TASK).exists()
    archive.write_bytes(good)
    assert desk.run("data", "get", TASK, "-o", out, "--mirror", place.address).code == 0


@pytest.mark.parametrize(("task", "says"), [("Task11_Toe", "no task"), ("Task09_Spleen", "404")])
def test_what_cannot_be_fetched_is_refused_in_one_line(desk: Desk, place: Place, task: str, says: str) -> None:
    answer = desk.run("data", "get", task, "-o", desk.folder / "data", "--mirror", place.address)
    assert answer.code == 3
    assert says in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_task_answers_to_its_number_and_structure() -> None:
    assert find_task("Task01") == find_task("BrainTumour") == find_task("1") == "Task01_BrainTumour"
