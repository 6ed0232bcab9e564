"""How long ago something was, in words."""

from __future__ import annotations

from datetime import UTC, datetime

from medseg_rl_gui.i18n import mark, tr, whole

_UNITS = ((86400, mark("{n} d ago")), (3600, mark("{n} h ago")), (60, mark("{n} min ago")), (1, mark("{n} s ago")))


def ago(seconds: float) -> str:
    """Such as "4 min ago"."""
    for size, text in _UNITS:
        if seconds >= size:
            return tr(text).format(n=whole(int(seconds // size)))
    return tr("just now")


def ago_utc(text: str | None, now: datetime | None = None) -> str:
    """The same for a time as the journal writes it; "at an unknown time" for anything else."""
    try:
        then = datetime.fromisoformat(str(text))
    except ValueError:
        return tr("at an unknown time")
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return ago(max(0.0, ((now or datetime.now(UTC)) - then).total_seconds()))
