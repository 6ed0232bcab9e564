"""Brings a task of the Medical Segmentation Decathlon: where MONAI says it lies, checked and unpacked by MONAI.

The only place of the program that opens a socket, and only when asked. What was fetched before a break of the line is
kept, and the same call goes on from there (MONAI itself begins anew).
"""

from __future__ import annotations

import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from medseg_rl.dataset.layouts import DESCRIPTION, list_pairs
from medseg_rl.errors import Cancelled, InputFileError, OutputError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.refiner import never_cancelled

BLOCK = 1 << 20
TIMEOUT_S = 60.0
SPARE = 2.2  # the archive and what is in it lie side by side for a while
PAIRED = ("Task04_Hippocampus",)  # ids 2k-1 and 2k look like the two sides of one head: one subject

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Source:
    """Where an archive lies and what its MD5 is."""

    url: str
    md5: str


def tasks() -> dict[str, Source]:
    """The tasks MONAI knows, by name."""
    from monai.apps.datasets import DecathlonDataset  # loads torch

    return {name: Source(url, DecathlonDataset.md5[name]) for name, url in sorted(DecathlonDataset.resource.items())}


def find_task(name: str) -> str:
    """Full name of a task from "Task04_Hippocampus", "hippocampus", "Task04" or "4". Raises `InputFileError`."""
    known = tasks()
    wanted = name.lower()
    for task in known:
        number, _, structure = task.partition("_")
        if wanted in (task.lower(), number.lower(), structure.lower(), str(int(number.removeprefix("Task")))):
            return task
    raise InputFileError(f"the Decathlon has no task {name!r}; choose one of {', '.join(known)}")


def download_task(
    task: str,
    folder: Path,
    *,
    mirror: str | None = None,
    keep_archive: bool = False,
    progress: Progress = lambda done, total: None,
    cancel: Callable[[], bool] = never_cancelled,
) -> Path:
    """The folder `folder`/`task`, fetched, checked and unpacked; at once where it is there already.

    `mirror`: address of a folder that holds the same archives. `progress` gets bytes. Raises `InputFileError` (no such
    task, nothing there, wrong checksum), `OutputError` (disk), `Cancelled`; what was fetched stays for the next call.
    """
    source = tasks()[find_task(task)]
    task = find_task(task)
    done = folder / task
    if (done / DESCRIPTION).is_file():
        return done
    url = source.url if mirror is None else f"{mirror.rstrip('/')}/{task}.tar"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"{task}.tar"
        with atomic_path(folder / f".{task}.fetched") as record:  # its lock keeps a second process away
            if not archive.is_file():
                _fetch(url, archive.with_name(archive.name + ".part"), progress, cancel)
                archive.with_name(archive.name + ".part").replace(archive)
            _unpack(archive, source.md5, done)
            record.write_text(f"{url}\n{source.md5}\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}; choose another place") from error
    if not keep_archive:
        archive.unlink(missing_ok=True)
    return done


def paired_subjects(task: str, folder: Path) -> dict[str, str]:
    """Subject of each case where a task is known to hold several volumes of one; empty for the others."""
    if task not in PAIRED:
        return {}
    return {case_id: f"pair_{(_number(case_id) + 1) // 2:03d}" for case_id in list_pairs(folder).pairs}


def _number(case_id: str) -> int:
    return int(case_id.rpartition("_")[2])


def _fetch(url: str, part: Path, progress: Progress, cancel: Callable[[], bool]) -> None:
    """Fetches `url` into `part`, from where it ends; anew where the server does not know how."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            goes_on = have > 0 and answer.status == 206
            have = have if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else 0
            _check_room(part, total, have)
            with part.open("ab" if goes_on else "wb") as file:
                _copy(answer, file, have, total, progress, cancel)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing is left to fetch: the checksum will say
            return
        raise InputFileError(f"{url} answers {error.code} {error.reason}; try again, or name a --mirror") from None
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise InputFileError(
            f"{url} cannot be fetched: {reason}; the same command goes on from what is there"
        ) from None


def _copy(
    answer: IO[bytes], file: IO[bytes], have: int, total: int, progress: Progress, cancel: Callable[[], bool]
) -> None:
    progress(have, total)
    while block := answer.read(BLOCK):
        file.write(block)
        have += len(block)
        progress(have, total)
        if cancel():
            raise Cancelled(f"stopped after {have / 1e6:.0f} MB; the same command goes on from there")
    if total and have < total:
        raise InputFileError(f"the line broke after {have} of {total} bytes; the same command goes on from there")


def _check_room(part: Path, total: int, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total * SPARE - have > free:
        raise OutputError(
            f"{part.parent} has {free / 1e9:.1f} GB free, but {total * SPARE / 1e9:.1f} GB are needed; make room"
        )


def _unpack(archive: Path, md5: str, done: Path) -> None:
    """Unpacks beside the place it will have, so that half of it is never taken for the whole."""
    from monai.apps.utils import HashCheckError, extractall

    logging.getLogger("monai.apps").setLevel(logging.CRITICAL)  # it prints on stdout
    beside = done.with_name(f".{done.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        extractall(archive, beside, hash_val=md5, hash_type="md5")
        inside = beside / done.name
        if not (inside / DESCRIPTION).is_file():
            raise InputFileError(f"{archive} holds no {done.name}/{DESCRIPTION}; delete it and name another mirror")
        inside.replace(done)
    except HashCheckError:
        archive.unlink(missing_ok=True)
        raise InputFileError(
            f"{archive.name} has not the checksum it should have; the same command fetches it anew"
        ) from None
    except (ValueError, EOFError) as error:
        raise InputFileError(f"{archive} cannot be unpacked: {error}; delete it and fetch it again") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
