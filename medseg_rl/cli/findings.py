"""One line of what `medseg-rl doctor` reports. Finds nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "lacking"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. "note" works but could be better; "lacking" must be mended."""

    what: str
    status: Status
    says: str
