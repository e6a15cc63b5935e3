"""Memorization and its standard error by hand, from margins and correctness of subset ensembles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datapruning import scorers
from datapruning.errors import InvalidValue
from datapruning.evidence.ensemble import SubsetEnsemble
from tests.helpers.evidence_cases import MEMBER_CORRECT, MEMBER_MASKS, make_ensemble

MARGINS = [[9, -2, 9, 9], [9, 9, 4, 9], [-1, 9, 9, 0], [0, 0, 5, 1], [1, 2, 6, 9]]  # 9: trained on, not to be read


def test_memorization_and_its_error_by_hand(tmp_path: Path) -> None:
    values, stderr = scorers.get_scorer("memorization")(
        make_ensemble(tmp_path, MEMBER_MASKS, MEMBER_CORRECT, margins=MARGINS)
    )
    # margins outside (-1 0 1) (-2 0 2) (4 5 6) (0 1): deviations 1, 2, 1, 0.71, the median 1; the ramp is margin / 3 + 1/2
    # in 0..1: (1/6 1/2 5/6) (0 1/2 1) (1 1 1) (1/2 5/6)
    np.testing.assert_allclose(values, [1 / 2, 1 / 2, 0, 1 / 3], rtol=1e-6, atol=1e-7)
    assert stderr is not None
    variances, counts = np.array([1 / 9, 1 / 4, 0, 1 / 18]), np.array([3, 3, 3, 2])
    np.testing.assert_allclose(stderr, np.sqrt((variances + 0.25 / (counts + 1)) / (counts + 1)), rtol=1e-5)


def test_memorization_counted_by_hand_with_its_error(tmp_path: Path) -> None:
    values, stderr = scorers.get_scorer("memorization-plain")(make_ensemble(tmp_path, MEMBER_MASKS, MEMBER_CORRECT))
    # right of those that saw it, and of those that did not: 2/2 0/3; 1/2 2/3; 2/2 2/3; 2/3 2/2
    np.testing.assert_allclose(values, [1, 1 / 2 - 2 / 3, 1 / 3, -1 / 3], rtol=1e-6)
    # smoothed shares (r + 1/2) / (n + 1); variance s (1 - s) / n
    two_of_two = (5 / 6) * (1 / 6) / 2
    two_of_three = (5 / 8) * (3 / 8) / 3
    expected = [
        two_of_two + (1 / 8) * (7 / 8) / 3,
        1 / 8 + two_of_three,
        two_of_two + two_of_three,
        two_of_three + two_of_two,
    ]
    assert stderr is not None
    np.testing.assert_allclose(stderr, np.sqrt(expected), rtol=1e-6)


def test_memorization_ramps_sample_by_sample(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inside = np.array([(np.arange(9) + m) % 3 != 0 for m in range(12)])
    inside[0, 3] = True  # one sample has fewer than the others
    margins = 3 * rng.normal(size=inside.shape).astype(np.float32) + np.arange(-4, 5)
    unseen = [[float(margins[m, i]) for m in range(12) if not inside[m, i]] for i in range(9)]
    assert sorted({len(item) for item in unseen}) == [3, 4]
    width = 3 * float(np.median([np.std(item, ddof=1) for item in unseen]))
    values, errors = [], []
    for item in unseen:
        prob_correct = [min(max(margin / width + 0.5, 0), 1) for margin in item]
        spread = np.var(prob_correct, ddof=1) + 0.25 / (len(prob_correct) + 1)
        values.append(1 - np.mean(prob_correct))
        errors.append(np.sqrt(spread / (len(prob_correct) + 1)))
    scores, stderr = scorers.get_scorer("memorization")(make_ensemble(tmp_path, inside, margins > 0, margins=margins))
    assert stderr is not None
    np.testing.assert_allclose(scores, values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stderr, errors, rtol=1e-5)
    assert 0 <= scores.min() < 0.2  # the reference is far from flat
    assert 0.9 < scores.max() <= 1


def test_the_order_of_members_does_not_matter(tmp_path: Path) -> None:
    ensemble = make_ensemble(tmp_path, MEMBER_MASKS, MEMBER_CORRECT, margins=MARGINS)
    turned = SubsetEnsemble(ensemble.paths[::-1], ensemble.labels, ensemble.cost)
    read = scorers.get_scorer("memorization")
    np.testing.assert_allclose(read(ensemble)[0], read(turned)[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["memorization", "memorization-plain"])
def test_an_ensemble_too_small_for_an_error_bar_is_refused(tmp_path: Path, name: str) -> None:
    masks = [[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 0]]
    with pytest.raises(InvalidValue, match=r"sample id 2 has 3 and 1: add members \(ensemble.num_members\)"):
        scorers.get_scorer(name)(make_ensemble(tmp_path, masks, np.ones((4, 3))))
