"""Turns one kind of record into another: rankings into pairs, pairs into rankings, lists of answers into rankings.

Nothing is learned or sampled here; a converted record keeps what it can of the one it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from medseg_rl.rlhf.records import Preference, Ranking, Record, RecordError, new_record_id


def to_preferences(ranking: Ranking, *, use_implicit: bool = False) -> tuple[Preference, ...]:
    """Every strict pair of a ranking; ties give none, an implicit ranking only where asked for.

    The pairs keep the ranking's `record_id`: all pairs of one prompt belong into one batch.
    """
    if ranking.implicit and not use_implicit:
        return ()
    shared = _shared(ranking)
    k = len(ranking.completions)
    return tuple(
        Preference(**shared, chosen=ranking.completions[better], rejected=ranking.completions[worse])
        for better in range(k)
        for worse in range(k)
        if ranking.ranks[better] < ranking.ranks[worse]
    )


def to_ranking(preference: Preference) -> Ranking:
    """A pair as a ranking of two. In what order they were shown is not known."""
    return Ranking(**_shared(preference), completions=(preference.chosen, preference.rejected), ranks=(1, 2))


def read_tsv(path: Path, **common: Any) -> tuple[Ranking, ...]:
    """Rankings of text: one prompt a line, then its responses from best to worst, separated by tabs.

    `common`: the keys that all of them share, such as `annotator`. Raises RecordError naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"cannot read {path.name} as UTF-8 ({type(error).__name__}); save it so") from None
    return tuple(_tsv_rankings(text, path.name, common))


def _tsv_rankings(text: str, name: str, common: dict[str, Any]) -> Iterator[Ranking]:
    for number, line in enumerate(text.split("\n"), start=1):
        row = [cell.strip() for cell in line.split("\t")]
        if not any(row):
            continue
        prompt, *responses = row
        if not prompt or len(responses) < 2 or not all(responses):
            raise RecordError(f"{name}, line {number}: needs a prompt and at least two responses, best first, by tabs")
        ranks = tuple(range(1, len(responses) + 1))
        yield Ranking(
            **{"record_id": new_record_id(), **common}, prompt=prompt, completions=tuple(responses), ranks=ranks
        )


def _shared(record: Record) -> dict[str, Any]:
    return {entry.name: getattr(record, entry.name) for entry in fields(Record)}
