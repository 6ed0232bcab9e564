"""Thousands of bad inputs through every reader, in a child that is watched: crashes, hangs, memory, bare tracebacks."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.mutations import MUTATIONS, mutated
from benchmarks.faults.reading import AT_THE_CAP, READ, REFUSED
from benchmarks.faults.specimens import Specimen, specimens
from benchmarks.faults.tally import Row, in_words

ROOT = Path(__file__).resolve().parents[2]
CAP_BYTES = 512 << 20  # of address space above what the program itself takes
LONGEST_SECONDS = 60.0  # for all readers of one input; then it hangs
MOST_UNPACKED = 4 * 5000  # by more than this no file grows in any reader, copies on the way included
GREEDY = "took memory that its file cannot fill"
FINE = (READ, REFUSED, AT_THE_CAP)


@dataclass
class Outcome:
    """What the inputs came to. `defects`: mutation, specimen, reader, verdict, message and number of the input."""

    inputs: int = 0
    reads: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, Counter[str]] = field(default_factory=dict)  # verdicts of the readings
    by_mutation: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    peak_bytes: int = 0
    at_rest_bytes: int = 0
    defects: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """A row for each kind of input and each mutation, and one for all."""
        rows: list[Row] = []
        for kind, count in self.kinds.most_common():
            failed = sum(defect["kind"] == kind for defect in self.defects)
            rows.append((f"bad input: {kind}", count, f"readings: {in_words(self.by_kind[kind])}", failed))
        for name, count in self.mutations.most_common():
            failed = sum(defect["mutation"] == name for defect in self.defects)
            rows.append((f"mutation: {name}", count, f"readings: {in_words(self.by_mutation[name])}", failed))
        grown = max(0, self.peak_bytes - self.at_rest_bytes) / 2**20
        said = (
            f"{self.reads} readings: {in_words(self.verdicts)}; slowest input {self.slowest[0]:.1f} s for all its"
            f" readings ({self.slowest[1]}); resident memory grew by {grown:.0f} MiB at most, under a cap of"
            f" {CAP_BYTES >> 20} MiB (RLIMIT_AS)"
        )
        return [*rows, ("**bad inputs together**", self.inputs, said, len(self.defects))]


def run(count: int, seed: int, *, workers: int = 1, only: str = "", first: int = 0) -> Outcome:
    """That many inputs, each made from `seed` and its number alone. `only`: specimens with that in their names."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        os.environ["MEDSEG_RL_HOME"] = str(home / "home")
        good = [s for s in specimens(home / "good") if only in s.name]
        for specimen in good:
            _expect_good(specimen, home)
        numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(first, first + count):
            numbers.put(number)
        lock = threading.Lock()
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(_work, home, seed, good, numbers, outcome, lock) for _ in range(workers)]:
                done.result()
    outcome.defects.sort(key=lambda defect: defect["number"])
    return outcome


def _expect_good(specimen: Specimen, home: Path) -> None:
    """Every specimen as it is must be read: else its mutations would test nothing."""
    from benchmarks.faults.reading import readers, verdict
    from medseg_rl.imageio import read_volume

    like = read_volume(home / "good" / "dicom" / "plain series")
    with tempfile.TemporaryDirectory(dir=home) as folder:
        path = specimen.put(_inner(Path(folder), specimen))
        found = {name: verdict(reader, path) for name, reader in readers(like)[specimen.kind].items()}
    bad = {name: v for name, v in found.items() if v[0] != READ}
    if len(bad) == len(found) or any(v[0] not in FINE for v in bad.values()):
        raise AssertionError(f"the good {specimen.name} is not read: {bad}")


def _inner(folder: Path, specimen: Specimen) -> Path:
    """Two folders deep, so that a name with `..` in it would land where it is seen; a case folder needs its name."""
    inner = folder / "a" / ("case-0011aabb" if specimen.name == "case folder" else "b")
    inner.mkdir(parents=True)
    return inner


def _work(
    home: Path, seed: int, good: list[Specimen], numbers: queue.SimpleQueue[int], outcome: Outcome, lock: threading.Lock
) -> None:
    child = Child(home)
    with lock:
        outcome.at_rest_bytes = max(outcome.at_rest_bytes, child.at_rest)
    for number in _taken(numbers):
        rng = random.Random(f"{seed}/{number}")
        specimen = good[number % len(good)]
        name, bad = mutated(specimen, rng)
        with tempfile.TemporaryDirectory(dir=home) as folder:
            path = bad.put(_inner(Path(folder), specimen))
            begun = time.monotonic()
            answer = child.ask(bad.kind, path)
            seconds = time.monotonic() - begun
        with lock:
            outcome.inputs += 1
            outcome.kinds[bad.kind] += 1
            outcome.mutations[name] += 1
            of_kind = outcome.by_kind.setdefault(bad.kind, Counter())
            of_mutation = outcome.by_mutation.setdefault(name, Counter())
            outcome.peak_bytes = max(outcome.peak_bytes, answer["peak"])
            outcome.slowest = max(outcome.slowest, (seconds, f"{name} of {bad.name}"))
            for reader, (said, message) in answer["verdicts"].items():
                outcome.reads += 1
                if said == AT_THE_CAP and sum(map(len, bad.files.values())) * MOST_UNPACKED < CAP_BYTES:
                    said = GREEDY
                for verdicts in (outcome.verdicts, of_kind, of_mutation):
                    verdicts[said] += 1
                if said not in FINE:
                    about = {
                        "number": number,
                        "mutation": name,
                        "kind": bad.kind,
                        "specimen": bad.name,
                        "reader": reader,
                    }
                    outcome.defects.append(about | {"verdict": said, "message": message})
    child.close()


def _taken(numbers: queue.SimpleQueue[int]) -> Iterator[int]:
    while True:
        try:
            yield numbers.get_nowait()
        except queue.Empty:
            return


class Child:
    """The reading program, started again when it dies or hangs."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.at_rest = 0
        self._start()

    def _start(self) -> None:
        like = self._home / "good" / "dicom" / "plain series"
        command = [sys.executable, "-X", "faulthandler", "-m", "benchmarks.faults.reading", str(CAP_BYTES), str(like)]
        self._stderr = tempfile.TemporaryFile(dir=self._home)  # noqa: SIM115  (closed by `close`)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=os.environ | one_thread | {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"},
        )
        answer = self.ask("clicks", self._home / "nothing.json")  # once it answers, it has loaded everything
        self.at_rest = max(self.at_rest, answer["peak"])

    def ask(self, kind: str, path: Path) -> dict[str, Any]:
        """The verdicts of the readers of that kind."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died since: then there is no answer either
            process.stdin.write(json.dumps({"kind": kind, "path": str(path)}).encode() + b"\n")
            process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], LONGEST_SECONDS)
        line = process.stdout.readline() if ready else b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        said = "hang" if not ready else "crash"
        process.kill()
        code = process.wait()
        self._stderr.seek(0)
        trace = self._stderr.read().decode(errors="replace")[-3000:]
        self.close()
        self._start()
        return {"verdicts": {"?": (said, f"exit status {code}: {trace}")}, "peak": 0}

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._process.wait()


def unused(outcome: Outcome) -> list[str]:
    """Mutations that no input had: the figures say nothing of them."""
    return [name for name in MUTATIONS if not outcome.mutations[name]]
