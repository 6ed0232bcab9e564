"""Random users of a session: a small volume, a refiner of few lines, every kind of action, and what must hold."""

from __future__ import annotations

import numpy as np

from medseg_rl.editing import (
    Brush,
    Combine,
    CopySlice,
    FillBox,
    FillHoles,
    Interpolate,
    Islands,
    Lasso,
    Margin,
    Smooth,
    SplitIslands,
    Threshold,
)
from medseg_rl.errors import MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import UndoStack
from medseg_rl.interaction import InteractionConfig
from medseg_rl.labels import LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Box, Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
SHAPE = (14, 12, 10)
TURNED = np.array([[0, -2.0, 0, 30], [1.5, 0, 0.1, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])  # turned, flipped, sheared
PLANES = ("axial", "coronal", "sagittal")
MODEL = ("click", "click", "scribble", "refine", "delete_click", "start", "candidate")
TABLE = ("add", "rename", "recolour", "delete", "lock", "activate", "policy")
BY_HAND = ("brush", "brush", "erase", "lasso", "box", "islands", "split", "holes", "smooth", "margin", "interpolate")
OTHERS = ("copy", "combine", "accept", "accept", "discard", "undo", "redo")
KINDS = (*MODEL, *TABLE, *BY_HAND, *OTHERS)


class Leaning:
    """A ball round each new click whose size depends on clicks and state; keeps what is held; draws by the seed."""

    name = "leaning"

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent.copy()
        radius = 2.0 + len(request.clicks) % 3 + 3 * (percent > 50).mean() + (request.seed or 0) % 3
        fresh = request.clicks[len(request.clicks) - request.n_new_clicks :]
        for click in fresh or request.clicks[-1:]:
            axes = np.ogrid[tuple(slice(n) for n in percent.shape)]
            squared = sum(((a - c) * s) ** 2 for a, c, s in zip(axes, click.index, request.spacing, strict=True))
            percent[squared <= radius**2] = 90 if click.label == OBJECT else 10
        if request.held_voxels is not None:
            np.copyto(percent, request.percent, where=request.held_voxels)
        preview(percent)
        return percent


def image(shape=SHAPE, affine=TURNED):
    array = np.random.default_rng(1).normal(100, 10, shape).astype(np.float32)
    return Volume(array, affine, "MR")


def started(refiner=None, variant=0, **options):
    """Lesion (1, active, empty) beside labels 3 and 7. `variant`: 1 with only 7 locked, 2 with only 3 locked, both with
    another overwrite policy, 3 with open locks and labels that overlap already.
    """
    array = np.zeros(SHAPE, np.uint8)
    array[9:13, 3:9, 2:8], array[1:6, 1:6, 1:6] = 3, 7
    table = LabelMap().adding("Lesion", value=1)
    given = {"label_map": Volume(array, TURNED), "labels": table, "active": 1} | options
    if variant == 3:
        over = np.zeros(SHAPE, bool)
        over[4:11, 2:7, 3:9] = True
        names = [(label, array == label.value) for label in LabelMap.of_values([3, 7]).labels]
        masks = [*names, (table.labels[0], over)]
        given = {"segmentation": Segmentation.of_masks(masks, image()), "active": 1}
    session = SegmentationSession(image(), refiner or Leaning(), InteractionConfig(edit_radius_mm=12.0), **given)
    if variant:
        for value in (3, 7):
            session.set_lock(value, variant == 2 if value == 3 else variant == 1)
        session.overwrite = ("keep", "overlap", "replace", "overlap")[variant]
        session.history = UndoStack()
    return session


def settle(session, kind, seed):
    """What the window would ask first: an open proposal is mostly accepted before an edit or another label."""
    asks = kind in (*BY_HAND, "copy", "combine", "activate", "delete")
    if asks and session.proposal is not None and seed % 4 and not session.labels[session.proposal.label].locked:
        session.activate(session.proposal.label)
        session.accept()


def act(session, kind, seed):
    """One random action. Errors are such as a user sees, and change nothing but what says where one stands."""
    rng = np.random.default_rng(seed)
    before, version = everything(session), session.version
    try:
        _act(session, kind, rng)
    except MedSegError:
        assert everything(session) == before
        assert session.version == version


def _act(session, kind, rng):
    index = tuple(int(rng.integers(n)) for n in SHAPE)
    point = tuple(float(v) for v in session.image.index_to_world(index))
    other = tuple(float(v) for v in session.image.index_to_world(tuple(int(rng.integers(n)) for n in SHAPE)))
    plane, values = PLANES[int(rng.integers(3))], session.labels.values
    value, label = values[int(rng.integers(len(values)))], ClickLabel(int(rng.integers(3) > 0))
    allowed = Threshold(95.0, 130.0, inverted=bool(rng.integers(2))) if rng.integers(3) == 0 else None
    if kind == "click":
        session.click_voxels([Click(index, label)])
    elif kind == "scribble":
        session.scribble([point, other], label, plane if rng.integers(2) else None)
    elif kind == "delete_click" and session.clicks:
        session.delete_click(int(rng.integers(len(session.clicks))))
    elif kind == "start":
        start = np.zeros(SHAPE, bool)
        start[index[0] :, : index[1] + 1, index[2] // 2 : index[2] + 2] = True
        session.set_start(start)
    elif kind == "candidate":
        found = session.candidates(int(rng.integers(2, 4)), seed=int(rng.integers(100)))
        if len(found):
            session.choose(found, int(rng.integers(len(found))))
    elif kind == "add":
        if len(values) < 5:
            session.add_label()
    elif kind == "rename":
        session.rename_label(value, f"Name {rng.integers(3)}")
    elif kind == "recolour":
        session.recolour_label(value, (int(rng.integers(256)), 1, 2))
    elif kind == "delete":
        session.delete_label(value)
    elif kind == "lock":
        session.set_lock(value, bool(rng.integers(2)))
    elif kind == "activate":
        session.activate(value)
    elif kind == "policy":
        session.overwrite = ("keep", "replace", "overlap")[int(rng.integers(3))]
    elif kind in ("refine", "accept", "discard", "undo", "redo"):
        getattr(session, kind)()
    else:
        operation = operation_of(kind, point, other, plane, allowed, value, rng)
        if operation is not None:
            session.edit(operation)


def operation_of(kind, point, other, plane, allowed, value, rng):
    radius = float(rng.uniform(0.5, 6))
    flat = plane if rng.integers(2) else None
    made = {
        "brush": lambda: Brush((point, other), radius, flat, False, allowed),
        "erase": lambda: Brush((point, other), radius, flat, True, allowed),
        "lasso": lambda: Lasso((point, other, (point[0] + 5, point[1] + 7, point[2] - 6)), plane),
        "box": lambda: FillBox(point, other, flat, bool(rng.integers(2))),
        "islands": lambda: Islands("keep_largest"),
        "split": lambda: SplitIslands(),
        "holes": lambda: FillHoles(flat),
        "smooth": lambda: Smooth(("median", "opening", "closing")[int(rng.integers(3))], 3.0),
        "margin": lambda: Margin(float(rng.choice([-3.0, 3.0]))),
        "interpolate": lambda: Interpolate(plane),
        "copy": lambda: CopySlice(point, plane),
        "combine": lambda: Combine(("union", "intersection", "difference")[int(rng.integers(3))], value),
    }
    return made[kind]() if kind in made else None


def everything(session):
    """All that undo and redo must bring back, as bytes and values."""
    ledger, states = session._ledger, {}
    whole = Box.whole(session._working.shape)
    for value in ledger.labels.values:
        work = session._work(value)
        percent = session._arrays.soft(value).read(whole, work.background)
        states[value] = (percent.tobytes(), work.clicks, work.start_box)
    return (
        used_layers(session),
        ledger.labels,
        {v: dict(c) for v, c in ledger.written.items()},
        states,
        ledger.open_label,
    )


def used_layers(session):
    """The layers without empty ones at the end, which are the same as none."""
    layers = [layer.tobytes() for layer in session._arrays.layers]
    while len(layers) > 1 and not any(layers[-1]):
        layers.pop()
    return layers


def check(session):
    """What holds after any action whatever."""
    for value in session.labels.values:
        soft, box = session._arrays.soft(value), session._arrays.accepted_box(value)
        assert soft.extent.box == Box.around_mask(soft.array > 50)
        own = session.labels[value].layer
        for n, layer in enumerate(session._arrays.layers):
            assert n == own or not (layer == value).any()
        if session._ledger.open_label != value:
            accepted = np.zeros(soft.array.shape, bool)
            if box is not None:
                accepted[box.slices] = session._arrays.accepted_mask(value, box)
            assert np.array_equal(soft.array > 50, accepted)


def locked_masks(session):
    """The voxels of every label that is locked now, in any layer."""
    table, active = session.labels, session.active_label
    return {
        value: np.any([layer == value for layer in session._arrays.layers], axis=0)
        for value in table.values
        if table.is_locked(value, active=active)
    }
