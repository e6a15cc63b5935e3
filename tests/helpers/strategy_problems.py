"""Small problems for the strategies: scores, imbalanced labels, and evidence that no network had to make."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from datapruning.artifacts.metadata import ScoresMetadata
from datapruning.artifacts.scores import Scores
from datapruning.selection.strategies import get_strategy
from datapruning.selection.strategy import Pool, Strategy


def scored(values: Any, **meta: Any) -> Scores:
    """Scores of a dataset that is as large as they are."""
    column = np.asarray(values, np.float32)
    about = {"dataset": "d", "fingerprint": "f", "package_version": "0", "created": "", "scorer": "mine"}
    return Scores(column, ScoresMetadata(**{**about, "total": len(column), **meta}))


@dataclass
class Made:
    """Evidence as a recording would give it. `asked` is the number of epochs that was last asked for."""

    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float16]
    asked: int | None = None
    name: str = "d"
    fingerprint: str = "f"
    folder: Path = Path("recording")

    @property
    def total(self) -> int:
        return len(self.probabilities)

    def label_prob(self, epochs: int | None = None) -> NDArray[np.float64]:
        self.asked = epochs
        return self.probabilities

    def features(self) -> NDArray[np.float16]:
        return self.embeddings


@dataclass
class Problem:
    """What `select` needs; no score is negative or infinite, so that every strategy can use them."""

    scores: Scores
    labels: NDArray[np.int64]
    evidence: Made


def problem(count: int, seed: int = 0, classes: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 1, 1, 4)) -> Problem:
    """Scores with ties, duplicated features, and a class of one sample among imbalanced ones."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count).astype(np.int64)
    labels[rng.integers(count)] = 7
    values = np.where(rng.random(count) < 0.3, rng.integers(0, 3, count), rng.gamma(1, 1, count))
    features = rng.integers(-3, 4, (count, 2)).astype(np.float16)
    return Problem(scored(values), labels, Made(rng.random(count), features))


PROBLEMS = st.builds(problem, st.integers(8, 60), st.integers(0, 10_000))
FRACTIONS = st.fractions(0, 1, max_denominator=50).filter(lambda f: f > 0).map(str)


def pool(rule: Strategy, values: Any, count: int, evidence: Any = None, seed: int = 0, **settings: Any) -> Pool:
    """A pool of a strategy with these settings, for calling the rule itself."""
    column = np.asarray(values, np.float64)
    resolved = rule.resolve(settings)
    rows = None if evidence is None else np.asarray(evidence)
    return Pool(np.arange(len(column)), column, count, Fraction(count, len(column)), seed, resolved, rows)


def kept(strategy: str, *arguments: Any, **options: Any) -> list[int]:
    """The ids that a rule keeps of a pool, in the rule's own order."""
    rule = get_strategy(strategy)
    return [int(i) for i in rule.choose(pool(rule, *arguments, **options))]
