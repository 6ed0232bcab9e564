"""Actions on the label table: add, rename, recolour, lock, delete. Each is one entry of the undo list."""

from __future__ import annotations

import numpy as np

from medseg_rl.errors import MedSegError
from medseg_rl.labels import Colour, LabelMap
from medseg_rl.session.case import Case
from medseg_rl.session.events import Parameters
from medseg_rl.session.preparing import check_open_label
from medseg_rl.session.state import Change
from medseg_rl.session.writing import emptied

LONGEST_NAME = 64  # characters: what a DICOM segment label holds


def add(session: Case, name: str | None, value: int | None, colour: Colour | None) -> int:
    """Add a label at the end and return its value. Raises MedSegError where the value is taken or does not fit."""
    value = session.labels.free_value if value is None else value
    limits = np.iinfo(session._arrays.layers[0].dtype)
    if value in session.labels or not 0 < value <= limits.max:
        raise MedSegError(f"label value {value} is taken or out of range; {session.labels.free_value} is free")
    table = session.labels.adding(None if name is None else _checked(name), value=value, colour=colour)
    given = {"value": value, "name": table[value].name, "colour": list(table[value].colour)}
    _table_changed(session, f"Add label {table[value].name}", value, table, "add_label", given)
    return value


def rename(session: Case, value: int, name: str) -> Change | None:
    """Give a label another name; None where it has that name."""
    old, name = session._name(value), _checked(name)
    if name == old:
        return None
    given = {"value": value, "name": name}
    table = session.labels.changing(value, name=name)
    return _table_changed(session, f"Rename {old} to {name}", value, table, "rename_label", given)


def recolour(session: Case, value: int, colour: Colour) -> Change | None:
    """Give a label another colour; None where it has that colour. Raises MedSegError for none from 0 to 255."""
    name = session._name(value)
    wanted = tuple(int(part) for part in colour)
    if len(wanted) != 3 or not all(0 <= part <= 255 for part in wanted):
        raise MedSegError(f"a colour has red, green and blue from 0 to 255, this one is {list(colour)}")
    if wanted == session.labels[value].colour:
        return None
    red, green, blue = wanted
    table = session.labels.changing(value, colour=(red, green, blue))
    given = {"value": value, "colour": [red, green, blue]}
    return _table_changed(session, f"Recolour {name}", value, table, "recolour_label", given)


def set_lock(session: Case, value: int, locked: bool | None) -> Change | None:
    """Close or open the padlock of a label by hand, or leave it to the rule (None); None where it is as wished.

    Opened by hand, a label that is not the active one can be written into, as the overwrite policy says. The rule:
    every label but the active one is locked.
    """
    name, label = session._name(value), session.labels[value]
    is_active = value == session.active_label
    opened = locked is False and (label.opened or not is_active)
    if (locked is True, opened) == (label.locked, label.opened):
        return None
    table = session.labels.changing(value, locked=locked is True, opened=opened)
    done = {True: "Lock", False: "Unlock", None: "Usual lock of"}[locked]
    given = {"value": value, "locked": locked}
    return _table_changed(session, f"{done} {name}", value, table, "lock_label", given)


def delete(session: Case, value: int) -> Change:
    """Delete a label with its voxels, clicks and probabilities.

    Raises MedSegError for the only label, a label locked by hand, and while any proposal is open.
    """
    name = session._name(value)
    session._check_not_read_only()
    check_open_label(session, None)
    if session.labels[value].locked:
        raise MedSegError(f"label {name} is locked; open its lock before you delete it")
    if len(session.labels.labels) == 1:
        raise MedSegError(f"{name} is the only label; add another before you delete it")
    deltas = emptied(session._arrays, value)
    ledger = session._ledger.without(value)
    if session.active_label == value:
        place = session.labels.values.index(value)
        session.active_label = session.labels.values[place - 1 if place else 1]
    return session._commit(
        session._entry(f"Delete label {name}", value, deltas, ledger, "delete_label", {"value": value})
    )


def _table_changed(session: Case, name: str, value: int, table: LabelMap, action: str, given: Parameters) -> Change:
    return session._commit(session._entry(name, value, (), session._ledger.with_labels(table), action, given))


def _checked(name: str) -> str:
    plain = " ".join(name.split())
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise MedSegError(f"a label needs a name of 1 to {LONGEST_NAME} printable characters, not {name[:80]!r}")
    return plain
