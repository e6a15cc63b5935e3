"""Small test cases for selection strategies: scores, imbalanced labels and generated evidence."""

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


def make_scores(values: Any, **meta: Any) -> Scores:
    """Make scores of a dataset with as many samples."""
    column = np.asarray(values, np.float32)
    metadata = {"dataset": "d", "fingerprint": "f", "package_version": "0", "created": "", "scorer": "custom"}
    return Scores(column, ScoresMetadata(**{**metadata, "total": len(column), **meta}))


@dataclass
class FakeEvidence:
    """Evidence with the interface of a recording. `requested_epochs` is the number of epochs of the last request."""

    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float16]
    requested_epochs: int | None = None
    name: str = "d"
    fingerprint: str = "f"
    folder: Path = Path("recording")

    @property
    def total(self) -> int:
        return len(self.probabilities)

    def label_prob(self, epochs: int | None = None) -> NDArray[np.float64]:
        self.requested_epochs = epochs
        return self.probabilities

    def features(self) -> NDArray[np.float16]:
        return self.embeddings


@dataclass
class StrategyCase:
    """The inputs of `select`. No score is negative or infinite, so that every strategy accepts them."""

    scores: Scores
    labels: NDArray[np.int64]
    evidence: FakeEvidence


def make_case(count: int, seed: int = 0, classes: tuple[int, ...] = (0, 0, 0, 0, 0, 0, 1, 1, 4)) -> StrategyCase:
    """Make a case with tied scores, duplicate features and imbalanced classes, one of them with a single sample."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count).astype(np.int64)
    labels[rng.integers(count)] = 7
    values = np.where(rng.random(count) < 0.3, rng.integers(0, 3, count), rng.gamma(1, 1, count))
    features = rng.integers(-3, 4, (count, 2)).astype(np.float16)
    return StrategyCase(make_scores(values), labels, FakeEvidence(rng.random(count), features))


CASES = st.builds(make_case, st.integers(8, 60), st.integers(0, 10_000))
FRACTIONS = st.fractions(0, 1, max_denominator=50).filter(lambda f: f > 0).map(str)


def make_pool(rule: Strategy, values: Any, count: int, evidence: Any = None, seed: int = 0, **settings: Any) -> Pool:
    """Make the pool that a strategy's rule is called with."""
    column = np.asarray(values, np.float64)
    resolved = rule.resolve(settings)
    rows = None if evidence is None else np.asarray(evidence)
    return Pool(np.arange(len(column)), column, count, Fraction(count, len(column)), seed, resolved, rows)


def kept_ids(strategy: str, *arguments: Any, **options: Any) -> list[int]:
    """Return the ids that a strategy keeps, in the order of the rule."""
    rule = get_strategy(strategy)
    return [int(i) for i in rule.choose(make_pool(rule, *arguments, **options))]
