"""The validation set of a search, and its budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapruning.errors import InvalidValue
from datapruning.training.distillation.validation import (
    MAX_SEARCH_COST,
    choose_validation_set,
    probe_budget,
    search_cost,
)  # fmt: skip
from datapruning.utils.cost import FORWARD_PASS_COST


@given(st.integers(3, 300), st.floats(0.01, 1), st.integers(1, 100), st.integers(0, 5), st.booleans())
def test_validation_samples_are_never_trained_on(total: int, share: float, count: int, seed: int, alike: bool) -> None:
    kept = np.sort(np.random.default_rng(seed).choice(total, min(total, max(3, round(share * total))), replace=False))
    validation = choose_validation_set(kept, total, count, seed, subset_is_random=alike)
    assert 0 < len(validation.ids) <= count
    assert not np.isin(validation.pruned_ids, kept).any()
    assert np.isin(validation.held_out_ids, kept).all()
    assert len(np.setdiff1d(kept, validation.held_out_ids)) >= 2
    assert len(np.unique(validation.ids)) == len(validation.ids)
    assert validation.weights.sum() == pytest.approx(1)


def test_a_scored_subset_is_validated_on_both_groups_by_their_true_fractions() -> None:
    validation = choose_validation_set(np.arange(200), 1000, 300, 0, subset_is_random=False)
    assert validation.kind == "pruned-away and set-aside"
    assert len(validation.held_out_ids) == 20  # a tenth of the kept, though 60 would be their share
    right = np.concatenate([np.ones(len(validation.pruned_ids)), np.zeros(len(validation.held_out_ids))])
    assert right @ validation.weights == pytest.approx(0.8)  # right on what was thrown out alone: right on 80% of the data


def test_only_full_data_holds_out_samples_at_most_a_tenth() -> None:
    random = choose_validation_set(np.arange(200), 1000, 300, 0, subset_is_random=True)
    assert (len(random.held_out_ids), len(random.pruned_ids), random.kind) == (0, 300, "pruned-away")
    full = choose_validation_set(np.arange(1000), 1000, 5000, 0, subset_is_random=True)
    assert (len(full.held_out_ids), len(full.pruned_ids), full.kind) == (100, 0, "set-aside")


def test_two_samples_are_too_few_for_a_search() -> None:
    with pytest.raises(InvalidValue, match="at least 3 samples"):
        choose_validation_set(np.array([0, 1]), 2, 10, 0, subset_is_random=True)


@given(st.integers(50, 10**7), st.integers(1, 8), st.floats(0.01, 1))
def test_a_search_keeps_to_its_cost(samples: int, probes: int, cost: float) -> None:
    allowed = search_cost(cost, samples)
    assert allowed <= max(cost, MAX_SEARCH_COST)
    validation, trained = probe_budget(allowed, samples, probes, 5000)
    passes = trained * (1 + FORWARD_PASS_COST) + FORWARD_PASS_COST * validation  # with soft labels of its own
    assert probes * passes <= max(allowed * samples, probes * (1 + 2 * FORWARD_PASS_COST))


@pytest.mark.parametrize(
    ("samples", "allowed"), [(30_000, 0.7), (60_000, 0.6), (100_000, 0.45), (1_000_000, 0.3), (10**8, 0.3)]
)
def test_small_runs_may_pay_more_for_their_noisier_probes(samples: int, allowed: float) -> None:
    assert 0.2 < search_cost(0.3, samples) <= allowed


def test_a_budget_of_the_user_holds_for_large_runs() -> None:
    assert search_cost(1.0, 10**7) == 1.0
    assert search_cost(0.1, 10**7) == 0.1
