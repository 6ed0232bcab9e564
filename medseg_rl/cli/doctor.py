"""`medseg-rl doctor`: what this machine has and lacks, each lack with its way out. Changes nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from medseg_rl.cli.doctor_window import window_findings
from medseg_rl.cli.findings import Finding
from medseg_rl.cli.terminal import JsonOption, guarded, print_json, print_table, progress
from medseg_rl.errors import MedSegError

# What a library file that cannot be found belongs to, in Debian and Ubuntu.
SYSTEM_PACKAGES = {
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libgfortran.so.5": "libgfortran5",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libz.so.1": "zlib1g",
}
MODULES = {  # where names differ
    "scikit-image": "skimage",
    "simpleitk": "SimpleITK",
    "connected-components-3d": "cc3d",
    "pyyaml": "yaml",
}
COMPRESSIONS = {  # transfer syntaxes by their common names
    "JPEG": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
    "RLE": "1.2.840.10008.1.2.5",
}
ENOUGH_MEMORY_GB = 4.0
ENOUGH_DISK_GB = 1.0


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("doctor")(doctor)


@guarded
def doctor(as_json: JsonOption = False) -> None:
    """Check this installation: packages, processor, memory, bundles, samples, data folder, window."""
    findings: list[Finding] = []
    with progress("looking at this machine", len(CHECKS)) as bar:
        for done, check in enumerate(CHECKS):
            bar.show(done, len(CHECKS), check.__name__.removeprefix("_"))
            findings.extend(check())
    lacking = sum(finding.status == "lacking" for finding in findings)
    if as_json:
        print_json({"healthy": lacking == 0, "findings": [vars(finding) for finding in findings]})
    else:
        print_table("", ("what", "status", ""), [(f.what, f.status, f.says) for f in findings])
        print("All that is needed is here." if not lacking else f"{lacking} thing(s) lacking: see above.")
    if lacking:
        raise typer.Exit(1)


def _python() -> Iterator[Finding]:
    version = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok" if sys.version_info >= (3, 11) else "lacking", version)


def _packages() -> Iterator[Finding]:
    """Imports every package the project requires; that is what breaks on a machine without a system library."""
    needed = [one for one in importlib.metadata.requires("medseg-rl") or [] if "extra ==" not in one]
    for name in dict.fromkeys(re.split(r"[ <>=!~;\[]", requirement, maxsplit=1)[0] for requirement in needed):
        yield import_finding(name, MODULES.get(name.lower(), name.replace("-", "_")))


def import_finding(name: str, module: str) -> Finding:
    """Whether package `name` is installed and its `module` can be imported here."""
    try:
        importlib.import_module(module)
        return Finding(name, "ok", importlib.metadata.version(name))
    except (ImportError, OSError) as error:
        found = re.search(r"(lib[\w+.-]+\.so[.\d]*)", str(error))
        if found and found[1] in SYSTEM_PACKAGES:
            return Finding(name, "lacking", f"{found[1]} is missing: apt-get install {SYSTEM_PACKAGES[found[1]]}")
        return Finding(name, "lacking", f"{error}; install the project again")


def _processor() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError):
        return  # said above
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("processor", "ok", f"{usable} cores usable, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        yield Finding("GPU", "ok", torch.cuda.get_device_name(0))
    else:
        yield Finding("GPU", "ok", "none, and none is needed: everything runs on the CPU")
    from medseg_rl.agent.learner import fast_precision

    fast = fast_precision() == "bf16"
    says = "bfloat16 instructions are there" if fast else "no bfloat16 instructions: float32, two to three times slower"
    yield Finding("precision", "ok" if fast else "note", says)


def _memory() -> Iterator[Finding]:
    if not hasattr(os, "sysconf"):
        return
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    says = f"{total:.1f} GB"
    if total < ENOUGH_MEMORY_GB:
        says += "; large volumes may not fit, crop them first"
    yield Finding("memory", "ok" if total >= ENOUGH_MEMORY_GB else "note", says)


def _disk() -> Iterator[Finding]:
    for what, folder in (("temporary folder", Path(tempfile.gettempdir())), ("this folder", Path.cwd())):
        free = shutil.disk_usage(folder).free / 1e9
        writable = os.access(folder, os.W_OK)
        says = f"{folder}, {free:.1f} GB free" + ("" if writable else ", read-only: write results elsewhere")
        yield Finding(what, "ok" if writable and free >= ENOUGH_DISK_GB else "note", says)


def _samples() -> Iterator[Finding]:
    from medseg_rl.samples import sample_folder, sample_names

    try:
        yield Finding("samples", "ok", f"{len(sample_names())} files in {sample_folder()}")
    except MedSegError as error:
        yield Finding("samples", "lacking", str(error))


def _bundles() -> Iterator[Finding]:
    from medseg_rl.bundle import bundle_names, load_bundle

    names = bundle_names()
    if not names:
        yield Finding("bundles", "lacking", "no trained bundle was found; use a checkout or wheel that ships one")
    for name in names:
        try:
            bundle = load_bundle(name)
            yield Finding(f"bundle {name}", "ok", f"weights {bundle.hash[:12]}")
        except MedSegError as error:
            yield Finding(f"bundle {name}", "lacking", str(error))


def _decoders() -> Iterator[Finding]:
    """Whether DICOM can be read under each compression that hospitals use."""
    from medseg_rl.imageio.dicom_checks import CODECS, can_decode

    lacking = [name for name, syntax in COMPRESSIONS.items() if not can_decode(syntax)]
    says = f"{', '.join(name for name in COMPRESSIONS if name not in lacking)}"
    if lacking:
        says += f'; not {", ".join(lacking)}: pip install "{CODECS}"'
    yield Finding("DICOM decoders", "note" if lacking else "ok", says)


def _window() -> Iterator[Finding]:
    yield from window_findings()


def _data() -> Iterator[Finding]:
    from medseg_rl.dataset import find_data_root

    try:
        yield Finding("data folder", "ok", str(find_data_root()))
    except MedSegError as error:
        yield Finding("data folder", "note", f"{error} (only for training and evaluation)")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _processor,
    _memory,
    _disk,
    _samples,
    _decoders,
    _bundles,
    _data,
    _window,
)
