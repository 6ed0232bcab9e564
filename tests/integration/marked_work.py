"""A whole session on a marked series, every export included, that ends with kill -9 in the middle of unsaved work.

    python marked_work.py SERIES OUT

Opens no socket and unpickles nothing: an audit hook ends the program with code 3 otherwise.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path

FORBIDDEN = ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "pickle.find_class")


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook."""
    if event in FORBIDDEN and not is_of_numba():
        sys.stderr.write(f"{event} {arguments[1:]!r}\n{''.join(traceback.format_stack())}")
        sys.stderr.flush()
        os._exit(3)


def is_of_numba() -> bool:
    """Whether numba hands itself types and machine code, from memory or from beside the source, as .pyc files lie."""
    frame = sys._getframe()
    while frame is not None:
        if Path(frame.f_code.co_filename).parts[-3:-1] == ("numba", "core"):
            return True
        frame = frame.f_back
    return False


def work(series: Path, out: Path) -> None:
    """Everything that a session can write."""
    from medseg_rl.bundle import load_bundle
    from medseg_rl.editing import Brush
    from medseg_rl.hints.clicks import ClickLabel
    from medseg_rl.imageio import read_volume, write_label_table, write_segmentation
    from medseg_rl.imageio.meshes import mesh_parts, write_mesh
    from medseg_rl.quantities import quantities_of
    from medseg_rl.rlhf.store import FeedbackStore
    from medseg_rl.session import SegmentationSession
    from medseg_rl.session.feedback import FeedbackRecorder
    from medseg_rl.session.feedback_filing import CaseIdentity
    from medseg_rl.session.safekeeping import Safekeeping

    image = read_volume(series)
    session = SegmentationSession(image, load_bundle(None).refiner)
    keeping = Safekeeping.begin(session, image_path=series, submit=lambda job: job())
    store = FeedbackStore()
    store.set_consent(store=True, images=True)
    recorder = FeedbackRecorder(store, CaseIdentity.of(keeping.case.folder.name, image))
    recorder.watch(session)

    centre = tuple(float(v) for v in image.index_to_world((12, 11, 4)))
    session.automatic_start(load_bundle(None).automatic().predict)
    session.click(centre)
    session.undo()
    session.redo()
    session.click(tuple(float(v) for v in image.index_to_world((2, 2, 4))), ClickLabel.BACKGROUND)
    recorder.rank(session.candidates(3), [[0], [1]])
    session.accept()
    session.edit(Brush((centre,), 4.0))
    recorder.target_not_here("not_in_image")
    session.rename_label(1, "Liver")
    keeping.note_view({"slice": 3})
    keeping.autosave()
    keeping.save(out / "own.medseg")
    keeping.save(out / "portable.medseg", portable=True, with_voxels=True)

    for name in ("a.nii.gz", "b.nrrd", "c.seg.nrrd", "d.mha", "e.dcm", "f.rtstruct.dcm"):
        session.export(out / name)
    said, labels = session.provenance(), session.segmentation
    write_segmentation(out / "g.dcm", labels, like=image, form="LABELMAP", provenance=said)
    for name in ("h.stl", "i.obj", "j.ply"):
        write_mesh(out / name, mesh_parts(labels), said)
    for name in ("k.json", "l.csv", "m.label"):
        write_label_table(out / name, session.labels)
    report = quantities_of(labels, image=image, provenance=said)
    (out / "n.csv").write_text(report.as_csv())
    (out / "o.json").write_text(json.dumps(report.as_json()))
    store.export(out / "p.zip", images=True)
    if recorder.problems:
        raise SystemExit(f"the feedback was not recorded: {recorder.problems}")
    session.click(tuple(float(v) for v in image.index_to_world((20, 18, 6))))  # unsaved: to be recovered


if __name__ == "__main__":
    sys.addaudithook(refuse)
    logging.basicConfig(filename=Path(sys.argv[2]) / "everything.log", level=logging.DEBUG)
    work(Path(sys.argv[1]), Path(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
