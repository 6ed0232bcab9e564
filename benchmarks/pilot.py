"""The hippocampus pilot under its first command line; `benchmarks.compare` does the work, for every set and method.

python benchmarks/pilot.py tune   --starts DIR --output OUT
python benchmarks/pilot.py run    --starts DIR --output OUT --agent MODEL --twin MODEL [--split test]
python benchmarks/pilot.py report --output OUT
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, it finds its own folder alone

from benchmarks import compare

NAMES = {"--agent": "agent", "--twin": "twin_a"}


def translated(arguments: Sequence[str]) -> list[str]:
    """The same for `benchmarks.compare`."""
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option in NAMES:
            found += ["--method", f"{NAMES[option]}={value if equals else next(words, '')}"]
        else:
            found.append(word)
    return found


if __name__ == "__main__":
    sys.exit(compare.main(translated(sys.argv[1:])))
