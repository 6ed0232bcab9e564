"""Optional libraries: looked for when a refiner is made that needs one, with an error that says how to get it."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from medseg_rl.errors import MissingExtraError


def imported(module: str, *, extra: str, what: str, needed: str = "") -> Any:
    """The module. `needed`: a name in it that another package brings. Raises `MissingExtraError` naming the extra."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of wrapped libraries while they load; as errors some would abort
            found = importlib.import_module(module)
            if needed:
                getattr(found, needed)
    except (ImportError, AttributeError) as error:
        raise MissingExtraError(
            f"{what} needs a library that is not installed ({error}); pip install 'medseg-rl[{extra}]'"
        ) from None
    return found
