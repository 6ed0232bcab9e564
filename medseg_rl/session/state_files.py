"""A stored state as parts of a session file, and back. Whatever is read is checked before it is put into a session."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import InputFileError
from medseg_rl.history import BoxDelta, UndoEntry
from medseg_rl.imageio.limits import MAX_VOXELS
from medseg_rl.interaction import InteractionConfig
from medseg_rl.journal.container import Container, Part, json_part
from medseg_rl.journal.deltas import INTEGERS, check_fits, record, records, unpacked
from medseg_rl.journal.formats import FORMAT_VERSION, migrated
from medseg_rl.journal.values import ValueReader, ValueWriter
from medseg_rl.session.arrays import StoredArray, layer_key, layer_of
from medseg_rl.session.state import Ledger
from medseg_rl.session.stored_state import StoredState
from medseg_rl.session.writing import OVERWRITE, Overwrite
from medseg_rl.volume import Box, Index

MOST_ARRAY_BYTES = 2**34  # of all arrays of a state
PERCENT = "percent"
PERCENT_TYPE = np.dtype(np.uint8)
MOST_LAYERS = 256
MISTAKES = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError)
Json = dict[str, Any]
DeltaOf = Callable[[str], BoxDelta]


def state_parts(state: StoredState, prefix: str, *, elsewhere: frozenset[str] = frozenset()) -> dict[str, Part]:
    """The parts of a state, below the folder `prefix`. `elsewhere`: digests of deltas that the file holds anyway."""
    writer = ValueWriter()
    content: Json = {
        "schema": FORMAT_VERSION,
        "shape": list(state.shape),
        "active": state.active,
        "version": state.version,
        "undo_bytes": state.undo_bytes,
        "dropped": state.dropped,
        "overwrite": state.overwrite,
        "config": writer.reference(state.config),
        "ledger": writer.reference(state.ledger),
        "done": [_entry_json(entry, writer) for entry in state.done],
        "undone": [_entry_json(entry, writer) for entry in state.undone],
        "arrays": [_array_json(array) for array in state.arrays],
    }
    rows, deltas = writer.taken()
    wanted = [payload for digest, payload in deltas.items() if digest not in elsewhere]
    parts: dict[str, Part] = {
        f"{prefix}/state.json": json_part(content | {"values": rows}),
        f"{prefix}/changes.bin": partial(map, record, wanted),
    }
    for number, array in enumerate(state.arrays):
        if array.values is not None:
            parts[f"{prefix}/array-{number}.bin"] = partial(_slabs, array.values)
    return parts


def read_state(container: Container, prefix: str, elsewhere: DeltaOf | None = None) -> StoredState:
    """The state below the folder `prefix`. `elsewhere`: gives deltas that are not there.

    Raises InputFileError.
    """
    content = container.json(f"{prefix}/state.json")
    try:
        return _state(content, container, prefix, _delta_source(container, f"{prefix}/changes.bin", elsewhere))
    except MISTAKES as error:
        raise InputFileError(f"its part {prefix} makes no sense ({error}); open an earlier copy") from None


def key_json(key: Hashable) -> Any:
    """The key of an array as JSON."""
    return list(key) if isinstance(key, tuple) else key


def key_of(given: Any) -> Hashable:
    """The key of an array from JSON. Raises ValueError where there is no such array."""
    if isinstance(given, str):
        layer = layer_of(given)
        if layer is None or not 0 <= layer < MOST_LAYERS or layer_key(layer) != given:
            raise ValueError(f"there is no array {given}")
        return given
    name, value = given
    if name != PERCENT or not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"there is no array {given}")
    return PERCENT, value


def overwrite_of(given: Any) -> Overwrite:
    """An overwrite policy from JSON. Raises ValueError where there is no such one."""
    for policy in OVERWRITE:
        if policy == given:
            return policy
    raise ValueError(f"there is no overwrite policy {given!r}")


def check_ledger(ledger: Ledger, active: int, shape: Index, label_type: np.dtype[Any]) -> None:
    """Raises InputFileError where the small facts do not fit arrays of that shape and type."""
    labels = ledger.labels
    if active not in labels or (ledger.open_label is not None and ledger.open_label not in labels):
        raise InputFileError("its label table lacks a label that it works on; the file is damaged")
    limits = np.iinfo(label_type)
    if not all(limits.min <= label.value <= limits.max and label.layer < MOST_LAYERS for label in labels.labels):
        raise InputFileError(f"it has a label that its {label_type} label map cannot hold; the file is damaged")
    whole, works = Box.whole(shape), list(ledger.works.values())
    while works:
        work = works.pop()
        if work.base is not None:
            works.append(work.base)
        if not all(whole.contains(click.index) for click in work.clicks):
            raise InputFileError(f"it has a click outside its {shape} voxels; the file is damaged")


def fitting(delta_of: DeltaOf, shape: Index) -> DeltaOf:
    """The same, for deltas of percent states of that shape alone: such are all deltas that ledgers hold."""

    def fitting_delta(digest: str) -> BoxDelta:
        delta = delta_of(digest)
        check_fits(delta, shape, PERCENT_TYPE)
        return delta

    return fitting_delta


def check_entry(entry: UndoEntry[Ledger], shape: Index, label_type: np.dtype[Any]) -> None:
    """Raises InputFileError where the deltas of an entry do not fit arrays of that shape and type."""
    for key, delta in entry.deltas:
        check_fits(delta, shape, PERCENT_TYPE if layer_of(key) is None else label_type)


def entry_of(given: Json, before: Ledger, after: Ledger, delta_of: DeltaOf) -> UndoEntry[Ledger]:
    """An entry of the undo list from JSON and its two ledgers."""
    subject, parameters = given["subject"], given["parameters"]
    if not isinstance(parameters, dict) or not isinstance(subject, int | None):
        raise ValueError("an entry of the undo list has no readable parameters")
    deltas = tuple((key_of(key), delta_of(str(digest))) for key, digest in given["deltas"])
    return UndoEntry(str(given["name"]), deltas, before, after, subject, str(given["action"]), parameters)


# --- inside -----------------------------------------------------------------------------------------------------------


def _entry_json(entry: UndoEntry[Ledger], writer: ValueWriter) -> Json:
    return {
        "name": entry.name,
        "action": entry.action,
        "parameters": dict(entry.parameters),
        "subject": entry.subject,
        "deltas": [[key_json(key), writer.reference(delta)] for key, delta in entry.deltas],
        "before": writer.reference(entry.before),
        "after": writer.reference(entry.after),
    }


def _array_json(array: StoredArray) -> Json:
    box = None if array.box is None else [list(array.box.start), list(array.box.stop)]
    return {"key": key_json(array.key), "type": array.dtype.newbyteorder("<").str, "box": box}


def _slabs(values: npt.NDArray[Any]) -> Iterator[bytes]:
    for slab in values:
        yield slab.astype(slab.dtype.newbyteorder("<"), copy=False).tobytes()


def _delta_source(container: Container, name: str, elsewhere: DeltaOf | None) -> DeltaOf:
    """Gives deltas by digest, each unpacked and checked once."""
    with container.opened(name) as handle:
        payloads = dict(records(handle))
    found: dict[str, BoxDelta] = {}

    def delta_of(digest: str) -> BoxDelta:
        if digest not in found:
            if digest in payloads:
                found[digest] = unpacked(payloads[digest])
            elif elsewhere is not None:
                found[digest] = elsewhere(digest)
            else:
                raise InputFileError("it names a change that is not in it; the file is damaged")
        return found[digest]

    return delta_of


def _state(content: Json, container: Container, prefix: str, delta_of: DeltaOf) -> StoredState:
    shape = _index(content["shape"])
    if min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise InputFileError(f"it is of {shape} voxels, which cannot be worked on")
    reader = ValueReader(fitting(delta_of, shape))
    reader.extend(migrated(content["values"], content["schema"]))

    def entries(name: str) -> tuple[UndoEntry[Ledger], ...]:
        return tuple(
            entry_of(given, reader.value(Ledger, given["before"]), reader.value(Ledger, given["after"]), delta_of)
            for given in content[name]
        )

    state = StoredState(
        shape=shape,
        arrays=_arrays(content["arrays"], container, prefix, shape),
        ledger=reader.value(Ledger, content["ledger"]),
        done=entries("done"),
        undone=entries("undone"),
        dropped=_count(content["dropped"]),
        undo_bytes=max(1, _count(content["undo_bytes"])),
        active=_count(content["active"], least=None),
        version=_count(content["version"]),
        config=reader.value(InteractionConfig, content["config"]),
        overwrite=overwrite_of(content.get("overwrite", "keep")),
    )
    _check(state)
    return state


def _check(state: StoredState) -> None:
    keys = {array.key for array in state.arrays}
    layers = sorted(layer for key in keys if (layer := layer_of(key)) is not None)
    types = {array.dtype for array in state.arrays if layer_of(array.key) is not None}
    if len(keys) != len(state.arrays) or layers != list(range(len(layers))) or len(types) != 1:
        raise InputFileError("its label maps are not one in each layer, all of one type; the file is damaged")
    label_type = types.pop()
    check_ledger(state.ledger, state.active, state.shape, label_type)
    for entry in (*state.done, *state.undone):
        check_entry(entry, state.shape, label_type)
        for ledger in (entry.before, entry.after):
            check_ledger(ledger, ledger.labels.values[0], state.shape, label_type)


def _arrays(given: Iterable[Json], container: Container, prefix: str, shape: Index) -> tuple[StoredArray, ...]:
    heads = [(key_of(item["key"]), _dtype(item), _box(item["box"], shape)) for item in given]
    if sum(0 if box is None else box.voxels * dtype.itemsize for _, dtype, box in heads) > MOST_ARRAY_BYTES:
        raise InputFileError(f"its arrays take more than {MOST_ARRAY_BYTES / 2**30:g} GB; it is not opened")
    return tuple(
        StoredArray(key, dtype, box, None if box is None else _values(container, f"{prefix}/array-{k}.bin", dtype, box))
        for k, (key, dtype, box) in enumerate(heads)
    )


def _values(container: Container, name: str, dtype: np.dtype[Any], box: Box) -> npt.NDArray[Any]:
    """The array of a part, slab by slab; slabs of zeros are never written, so that they cost no memory."""
    values = np.zeros(box.shape, dtype)
    slab_bytes = math.prod(box.shape[1:]) * dtype.itemsize
    with container.opened(name, box.shape[0] * slab_bytes) as handle:
        for slab in values:
            read = handle.read(slab_bytes)
            if len(read) != slab_bytes:
                raise InputFileError(f"the part {name} is cut off; the file is damaged")
            found = np.frombuffer(read, dtype.newbyteorder("<")).reshape(slab.shape)
            if found.any():
                slab[...] = found
    return values


def _dtype(item: Json) -> np.dtype[Any]:
    is_layer = isinstance(item["key"], str)
    if item["type"] not in INTEGERS or (not is_layer and item["type"] != PERCENT_TYPE.str):
        raise InputFileError(f"its array {item['key']} is of the type {item['type']}; the file is damaged")
    return np.dtype(item["type"]).newbyteorder("=")


def _box(given: Any, shape: Index) -> Box | None:
    if given is None:
        return None
    box = Box(_index(given[0]), _index(given[1]))
    if min(box.start) < 0 or min(box.shape) < 1 or any(b > n for b, n in zip(box.stop, shape, strict=True)):
        raise InputFileError(f"an array covers {box} of {shape} voxels; the file is damaged")
    return box


def _index(numbers: Any) -> Index:
    a, b, c = (_count(n) for n in numbers)
    return a, b, c


def _count(number: Any, least: int | None = 0) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or (least is not None and number < least):
        raise ValueError(f"{number!r} is no count")
    return number
