"""Scores files near the runs, which runs read which of them, and how much their orders agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datapruning.artifacts.scores import Scores, load_scores
from datapruning.report.discover import of_dataset
from datapruning.report.groups import scorer_order
from datapruning.report.student import Student
from datapruning.utils.hashing import digest

MOST = 8
"""Scores that are compared and shown, at most."""


@dataclass(frozen=True)
class ScoresFile:
    """Scores under a short name: the scorer's, with the seed where the report has several of one scorer."""

    name: str
    path: Path
    scores: Scores


def find_scores(
    named: Sequence[Path], roots: Sequence[Path], fingerprint: str
) -> tuple[list[ScoresFile], list[tuple[str, str]]]:
    """Scores of the dataset: the files that were named, and those in a folder `scores` of `roots`.

    Returns:
        the files, and (path, why) of those in the folders that were left out.

    Raises:
        InvalidFile, IncompatibleInputs: a file that was named is no scores file, or one of another dataset.
    """
    asked, lying, left_out = of_dataset(named, roots, "scores/*.npz", load_scores, fingerprint)
    loaded: dict[str, tuple[Path, Scores]] = {}
    for path, scores in asked + lying:
        loaded.setdefault(_key(scores.meta), (path, scores))
    kept = _few(list(loaded.values()))
    several = {s.scorer for _, s in kept if sum(s.scorer == other.scorer for _, other in kept) > 1}
    named_files = [ScoresFile(_name(s, several), path, s) for path, s in kept]
    return sorted(named_files, key=lambda f: (scorer_order(f.scores.scorer), f.name)), left_out


def _key(meta: Any) -> str:
    """What the scores are, whenever and by whichever version they were made."""
    return digest({k: v for k, v in meta.items() if k not in ("created", "package_version", "costs")}, 16)


def _few(found: list[tuple[Path, Scores]]) -> list[tuple[Path, Scores]]:
    """One of random, and at most `MOST` in all, every scorer before the second seed of any."""
    ranked = sorted(found, key=lambda f: (f[1].meta.get("seed") or 0, str(f[0])))
    places: dict[str, int] = {}
    order: list[tuple[int, int, tuple[Path, Scores]]] = []
    for item in ranked:
        scorer = item[1].scorer
        places[scorer] = places.get(scorer, -1) + 1
        if scorer != "random" or places[scorer] == 0:
            order.append((places[scorer], len(order), item))
    return [item for _, _, item in sorted(order, key=lambda o: o[:2])[:MOST]]


def _name(scores: Scores, several: set[str]) -> str:
    return f"{scores.scorer}, seed {scores.meta.get('seed')}" if scores.scorer in several else scores.scorer


def readers(file: ScoresFile, students: Sequence[Student]) -> list[Student]:
    """The runs whose subset was selected by these scores."""
    key = _key(file.scores.meta)
    return [s for s in students if isinstance(s.subset_meta.get("scores"), dict) and _key(s.subset_meta["scores"]) == key]
