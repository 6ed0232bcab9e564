"""What a candidate is judged by, and what is written of it: card, games, registry, verdict. Trains nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg_rl.bundle import Bundle, BundleCard, TrainingData
from medseg_rl.bundle.layout import LICENCE
from medseg_rl.dataset import Dataset
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.recipes.recipe import Result, write_json
from medseg_rl.recipes.refinement.material import Material
from medseg_rl.rlhf.config import LeagueConfig
from medseg_rl.rlhf.league import Gate, SafetyFigures, games_csv, promotion
from medseg_rl.rlhf.ratings import GameResult, bootstrap, rate
from medseg_rl.rlhf.records import now_utc


@dataclass(frozen=True, eq=False)
class Figures:
    """Dice curves of a bundle on the held-out records and on the public cases (cases, clicks + 1). `over`, `under`:
    how often its start is empty where the target is, and is not where it is not; None where that was not measured.
    """

    bundle: Bundle
    own: Sequence[Sequence[float]]
    public: Sequence[Sequence[float]]
    over: float | None = None
    under: float | None = None

    @property
    def player(self) -> str:
        """Its name in the league: as records name what proposes."""
        return f"{self.bundle.name}@{self.bundle.hash[:16]}"


def judge(candidate: Figures, incumbent: Figures, cases: Sequence[str], folder: Path) -> tuple[Result, Path, Path]:
    """Writes games.csv, registry.json and promotion.json; the verdict with all gates. A game: one case, all clicks.

    The winner has the higher mean Dice over the clicks; up to .005 is a draw.
    """
    config = LeagueConfig()
    games = []
    for case, mine, other in zip(cases, candidate.own, incumbent.own, strict=True):
        gap = float(np.mean(mine) - np.mean(other))
        score = 0.5 if abs(gap) <= config.draw_margin else float(gap > 0)
        games.append(GameResult(candidate.player, incumbent.player, score, case))
    path, registry = folder / "games.csv", folder / "registry.json"
    with atomic_path(path) as temporary:
        temporary.write_text(games_csv(games), encoding="utf-8")
    _write_registry(registry, candidate, incumbent)
    parents = {candidate.player: incumbent.player}
    ratings = rate(games, anchor=incumbent.player, parents=parents, config=config)
    sampled = bootstrap(games, ratings, parents=parents, config=config)
    ours, theirs = _public_dice(candidate), _public_dice(incumbent)
    verdict = promotion(
        candidate.player,
        incumbent.player,
        ratings,
        sampled,
        candidate_figures=SafetyFigures(ours or 0.0, candidate.over, candidate.under),
        incumbent_figures=SafetyFigures(theirs or 0.0, incumbent.over, incumbent.under),
        config=config,
    )
    gates = [*verdict.gates]
    if ours is None:
        gates.append(Gate("public benchmark was measured", False, "no data folder was given, so nothing is promoted"))
    else:
        gates.append(Gate("public benchmark was measured", True, f"{len(candidate.public)} cases"))
    result: Result = {
        "candidate": candidate.player,
        "incumbent": incumbent.player,
        "promoted": all(gate.passed for gate in gates),
        "gates": [gate._asdict() for gate in gates],
        "own_dice": {"candidate": _mean(candidate.own), "incumbent": _mean(incumbent.own)},
        "abstention": {
            "candidate": {"over": candidate.over, "under": candidate.under},
            "incumbent": {"over": incumbent.over, "under": incumbent.under},
        },
        "public_dice": {"candidate": ours, "incumbent": theirs},
    }
    write_json(folder / "promotion.json", result)
    return result, path, registry


def candidate_card(
    name: str,
    incumbent: Bundle,
    material: Material,
    dataset: Dataset | None,
    config: dict[str, Any],
    public_cases: int,
    *,
    belongs_to: str = "",
) -> BundleCard:
    """What a person reads of the candidate: what it learned from, what was left out and why, under which consent.

    `belongs_to`: whose model it is where it is no candidate for a place that others share.
    """
    ours = incumbent.metadata["medseg_rl"]
    low, high = ours.get("spacing_range_mm") or (0.0, None)
    lines = [
        f"# {name}",
        "",
        (f"A model for {belongs_to} beside" if belongs_to else "A candidate for the place of")
        + f" {incumbent.name} {incumbent.version} ({incumbent.hash[:16]}), trained on "
        "from its weights. For research, not for diagnosis or treatment.",
        "",
        "## What it learned from",
        "",
        f"{len(material.train)} accepted masks of {material.patients[0]} patients; {len(material.held_out)} of "
        f"{material.patients[1]} others were kept for choosing weights and for its games. Who: "
        + ", ".join(f"{count} by {kind} annotators" for kind, count in material.annotators.items())
        + ". "
        + f"Strokes into running refinements: {len(material.strokes)} of the patients to train on. Regions "
        f"of which a person said that the target is not there: {len(material.absent)}.",
        "",
        "| store | consent | effective records | left out |",
        "|---|---|---|---|",
        *(f"| {s.path} | {s.consent} | {_counts(s.kinds)} | {_counts(s.skipped)} |" for s in material.sources),
        "",
        _pretraining(dataset, public_cases, config),
        "",
        "## Settings",
        "",
        *(f"- {key}: {value}" for key, value in config.items()),
        "",
        "Figures, games and the verdict of the promotion stand in promotion.json beside the bundle's folder.",
        "",
    ]
    data = [TrainingData(**entry) for entry in ours.get("training_data", [])]
    data.append(TrainingData("feedback records", "as their annotators consented", "", material.fingerprint))
    licence = (incumbent.folder / LICENCE).read_text(encoding="utf-8")
    return BundleCard(
        name=name,
        version=incumbent.version,
        description=str(incumbent.metadata.get("description", "")),
        model_card="\n".join(lines),
        licence=licence
        + "\nLearned on from feedback records: whoever made them decides whether it may be passed on.\n",
        licence_name=str(incumbent.metadata.get("license", "")),
        modalities=tuple(ours.get("modalities") or ()),
        spacing_range_mm=(low, float("inf") if high is None else high),
        targets=tuple(ours.get("targets") or ()),
        training_data=tuple(data),
        changelog={incumbent.version: f"learned on from {len(material.train)} accepted masks"},
    )


def _pretraining(dataset: Dataset | None, count: int, config: dict[str, Any]) -> str:
    if dataset is None or not count:
        return "No pretraining case was mixed in."
    return (
        f"{count} cases of the training split of {dataset.name} ({dataset.licence}; data {dataset.data_hash[:16]}, "
        f"split {dataset.split_hash[:16]}) made {100 * config['ptx_share']:.0f} % of the scenes, so that what was "
        "learned before is kept."
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


def _write_registry(path: Path, candidate: Figures, incumbent: Figures) -> None:
    created = now_utc()
    if path.exists():  # the same run again: its date is that of the first time
        created = next(e["created"] for e in json.loads(path.read_text(encoding="utf-8")) if e["parent"])
    entries = [
        {"name": f.player, "created": when, "file": f.bundle.folder.name, "weights": f.bundle.hash, "parent": parent}
        for f, when, parent in ((candidate, created, incumbent.player), (incumbent, "", None))
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _public_dice(figures: Figures) -> float | None:
    return _mean(figures.public) if figures.public else None


def _mean(found: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(curve) for curve in found]))
