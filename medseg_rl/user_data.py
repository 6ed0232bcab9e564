"""Where this program keeps what belongs to the user and not to a case. Names folders; makes and opens none.

`MEDSEG_RL_HOME` takes the place of the system's folder: for portable use, and for tests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HOME_VARIABLE = "MEDSEG_RL_HOME"
_NAME = "medseg-rl"


def user_data_folder() -> Path:
    """The user's own data of this program: `$MEDSEG_RL_HOME`, else where the system keeps such data."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / _NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _NAME
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / _NAME
