"""Beta sampling: the weights against scipy, the draw against the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from datapruning.errors import InvalidValue
from datapruning.selection.select import select
from datapruning.selection.strategies.beta import log_weights, parameters
from tests.helpers.strategy_cases import kept_ids, make_case, make_scores


def test_the_parameters_by_hand() -> None:
    assert parameters(0.8, 0.5, 2) == pytest.approx((13.75, 2.25))
    assert parameters(0.4, 0.0, 4) == pytest.approx((7, 9)), "nothing pruned: b = 15 (1 - anchor)"
    a, b = parameters(0.4, 0.99, 4)
    assert a + b == pytest.approx(16)
    assert b == pytest.approx(9 * (1 - 0.99**4))


def test_the_weights_are_the_density_times_the_score() -> None:
    p, values = np.array([0.02, 0.3, 0.5, 0.9, 0.999]), np.array([0.1, 2.0, 0.7, 0.01, 3.0])
    for a, b in ((13.75, 2.25), (15.9, 0.1), (7.0, 9.0)):
        actual = log_weights(p, values, a, b)
        theirs = np.log(stats.beta.pdf(p, a, b) * values)
        assert np.allclose(actual - actual[0], theirs - theirs[0], rtol=1e-10)


def test_probabilities_of_0_and_1_give_finite_weights() -> None:
    weights = log_weights(np.array([0.0, 1.0]), np.ones(2), *parameters(1.0, 0.9, 4))
    assert np.isfinite(weights).all()
    assert weights[1] > weights[0]


def test_the_first_draw_is_in_proportion_to_the_weights() -> None:
    p, values = np.array([0.2, 0.4, 0.6, 0.8, 0.9]), np.array([1.0, 0.5, 2.0, 1.0, 0.3])
    anchor = p.mean()  # fewer than ten samples: all are the top-scored
    b = 15 * (1 - anchor) * (1 - 0.8**4)
    weights = stats.beta.pdf(p, 16 - b, b) * values
    expected = weights / weights.sum()
    share = np.bincount([kept_ids("beta", values, 1, p, seed=seed)[0] for seed in range(2000)], minlength=5) / 2000
    assert np.all(np.abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 2000) + 1e-3)


def test_the_anchor_is_the_mean_of_the_ten_top_scored() -> None:
    case = make_case(40, seed=3)
    values, p = case.scores.values.astype(np.float64), case.evidence.probabilities
    anchor = np.mean([p[i] for i in sorted(range(40), key=lambda i: (-values[i], i))[:10]])
    b = 15 * (1 - anchor) * (1 - 0.5**3)
    density = stats.beta.pdf(p, 16 - b, b) * values
    chances = np.zeros(40)
    for seed in range(400):
        chances[kept_ids("beta", values, 20, p, seed=seed, c=3)] += 1 / 400
    assert stats.spearmanr(chances, density).statistic > 0.97


def test_more_pruning_keeps_easier_samples() -> None:
    case = make_case(60, seed=1)
    rng = np.random.default_rng(0)
    p = rng.random(60)
    means = []
    for fraction in ("0.05", "0.5"):
        case.evidence.probabilities = p
        subsets = [
            select(case.scores, fraction, strategy="beta", evidence=case.evidence, seed=seed).indices for seed in range(60)
        ]
        means.append(p[np.concatenate(subsets)].mean())
    assert means[0] > means[1] + 0.1


def test_samples_of_score_zero_are_drawn_last() -> None:
    values = np.zeros(12)
    values[[2, 5, 7]] = 1
    p = np.full(12, 0.5)
    assert set(kept_ids("beta", values, 3, p)) == {2, 5, 7}
    five = [set(kept_ids("beta", values, 5, p, seed=seed)) for seed in range(20)]
    assert all({2, 5, 7} < item and len(item) == 5 for item in five)
    assert len({frozenset(item) for item in five}) > 5, "drawn, not the lowest ids"


def test_only_the_first_epochs_are_read() -> None:
    case = make_case(20)
    select(case.scores, 0.5, strategy="beta", evidence=case.evidence)
    assert case.evidence.requested_epochs == 30
    select(case.scores, 0.5, strategy="beta", settings={"epochs": 7}, evidence=case.evidence)
    assert case.evidence.requested_epochs == 7


def test_negative_scores_are_refused() -> None:
    case = make_case(10)
    with pytest.raises(InvalidValue, match=r"the least of these is -3.5; take a scorer without scores below 0"):
        select(make_scores([*range(9), -3.5]), 0.5, strategy="beta", evidence=case.evidence)


def test_a_density_by_hand() -> None:
    """Beta(2, 3) has the density 12 p (1 - p)^2."""
    p = np.array([0.25, 0.5])
    expected = math.log((12 * 0.5 * 0.25 * 7) / (12 * 0.25 * 0.5625 * 3))
    assert float(np.diff(log_weights(p, np.array([3.0, 7.0]), 2, 3))[0]) == pytest.approx(expected)
