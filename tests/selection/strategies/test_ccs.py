"""CCS: the cut-off, the strata and the budgets, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.errors import InvalidValue
from datapruning.selection.select import select
from datapruning.selection.strategies.ccs import allocate, strata
from tests.helpers.strategy_cases import kept_ids, make_scores

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 0)

VALUES = [100, 0, 0.1, 90, 0.2, 0.3, 2.5, 5, 5.5, 8]
"""With cutoff 0.2, ids 0 and 3 go. Four strata of width 2: ids {1, 2, 4, 5}, {6}, {7, 8}, {9}, the top end in the last."""


def test_the_strata_are_equally_wide_and_the_highest_value_is_in_the_last() -> None:
    values = np.array([0, 0.1, 0.2, 0.3, 2.5, 5, 5.5, 8])
    assert strata(values, 4).tolist() == [0, 0, 0, 0, 1, 2, 2, 3]
    assert strata(-values, 4).tolist() == [3, 3, 3, 3, 2, 1, 1, 0]
    assert strata(np.array([-3.0, -3.0]), 4).tolist() == [0, 0], "no width: one stratum"


@pytest.mark.parametrize(
    ("count", "budgets"),
    [(1, [1, 0, 0, 0]), (3, [1, 0, 1, 1]), (4, [1, 1, 1, 1]), (5, [2, 1, 1, 1]), (6, [2, 1, 2, 1]), (8, [4, 1, 2, 1])],
)
def test_the_budget_is_shared_from_the_smallest_stratum_up(count: int, budgets: list[int]) -> None:
    assert allocate(count, np.array([4, 1, 2, 1])).tolist() == budgets


@pytest.mark.parametrize("seed", range(5))
def test_a_small_case_by_hand(seed: int) -> None:
    five = set(kept_ids("ccs", VALUES, 5, seed=seed, cutoff=0.2, strata=4))
    assert len(five & {1, 2, 4, 5}) == 2
    assert len(five & {7, 8}) == 1
    assert {6, 9} < five
    assert set(kept_ids("ccs", VALUES, 8, seed=seed, cutoff=0.2, strata=4)) == {1, 2, 4, 5, 6, 7, 8, 9}


def test_within_a_stratum_all_samples_are_equally_likely() -> None:
    draws = [kept_ids("ccs", VALUES, 5, seed=seed, cutoff=0.2, strata=4) for seed in range(1000)]
    times = np.bincount(np.concatenate(draws), minlength=10)
    assert times[[0, 3]].tolist() == [0, 0]
    assert times[[6, 9]].tolist() == [1000, 1000]
    assert np.all(np.abs(times[[1, 2, 4, 5, 7, 8]] - 500) < 4 * np.sqrt(250))


def test_of_equal_scores_the_cut_off_takes_the_lower_ids() -> None:
    assert sorted(kept_ids("ccs", [3, 3, 3, 3, 1, 2], 4, cutoff=0.4)) == [2, 3, 4, 5]


@settings(max_examples=200)
@given(SIZES)
def test_budgets_are_exact_fit_their_strata_and_never_fall(sizes: list[int]) -> None:
    before = np.zeros(len(sizes), np.int64)
    for count in range(1, sum(sizes) + 1):
        budgets = allocate(count, np.array(sizes))
        assert budgets.sum() == count
        assert np.all(budgets <= sizes)
        assert np.all(budgets >= before), "so a larger budget keeps what a smaller one kept"
        before = budgets


@pytest.mark.parametrize(("total", "fraction"), [(10, "0.9"), (10, "0.5"), (7, "0.7"), (1438, "0.8"), (333, "0.99")])
def test_too_high_a_cut_off_is_refused_and_the_largest_one_named_works(total: int, fraction: str) -> None:
    scores = make_scores(np.random.default_rng(0).random(total))
    with pytest.raises(
        InvalidValue, match=r"cutoff=0\.95 leaves .* samples, but fraction .* the largest cutoff possible is"
    ) as error_info:
        select(scores, fraction, strategy="ccs", settings={"cutoff": 0.95})
    largest = float(str(error_info.value).rpartition(" ")[2])
    select(scores, fraction, strategy="ccs", settings={"cutoff": largest})
    with pytest.raises(InvalidValue, match=f"largest cutoff possible is {largest:g}$"):
        select(scores, fraction, strategy="ccs", settings={"cutoff": largest + 0.001})


def test_in_classes_the_largest_cut_off_suits_them_all() -> None:
    labels = np.repeat([0, 1, 2], [40, 9, 1])
    scores = make_scores(np.arange(50))
    with pytest.raises(InvalidValue, match="samples of a class of 40") as error_info:
        select(scores, 0.5, strategy="ccs", settings={"cutoff": 0.6}, balance="class", labels=labels)
    largest = float(str(error_info.value).rpartition(" ")[2])
    subset = select(scores, 0.5, strategy="ccs", settings={"cutoff": largest}, balance="class", labels=labels)
    assert np.bincount(labels[subset.indices]).tolist() == [20, 5, 1]


def test_the_cut_off_is_taken_in_each_class_when_balanced() -> None:
    labels = np.repeat([0, 1], [20, 10])
    scores = make_scores(np.arange(30))  # the ten hardest are all of class 1
    subset = select(scores, 0.5, strategy="ccs", settings={"cutoff": 0.5}, balance="class", labels=labels)
    assert subset.indices.tolist() == [*range(10), *range(20, 25)]
