"""The search for the KD weight: its samples, its choice, its record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.errors import BadValue
from datapruning.training.kd_weight import SearchSplit, Trial, grid_search, search_split


@settings(deadline=None)
@given(st.integers(3, 300), st.floats(0.01, 1), st.integers(1, 100), st.integers(0, 5))
def test_validation_and_training_share_no_sample(total: int, share: float, validation: int, seed: int) -> None:
    kept = np.sort(np.random.default_rng(seed).choice(total, min(total, max(3, round(share * total))), replace=False))
    split = search_split(kept, total, validation, seed)
    assert 0 < len(split.validation) <= validation
    assert len(split.train) > 0
    assert not np.intersect1d(split.train, split.validation).size
    assert np.isin(split.train, kept).all()
    if split.kind == "pruned-away":
        assert not np.isin(split.validation, kept).any()
        assert np.array_equal(split.train, kept)
    else:
        assert np.array_equal(np.union1d(split.train, split.validation), kept)


def test_nothing_pruned_away_holds_out_a_tenth() -> None:
    split = search_split(np.arange(1000), 1000, 5000, 0)
    assert split.kind == "held-out"
    assert len(split.validation) == 100


def test_two_samples_cannot_be_searched_on_held_out_ones() -> None:
    with pytest.raises(BadValue, match="at least 3 samples"):
        search_split(np.array([0, 1]), 2, 10, 0)


def test_the_most_accurate_weight_wins_and_every_trial_is_kept() -> None:
    accuracies = {0.0: 50.0, 0.5: 70.0, 0.9: 80.0, 1.0: 75.0}
    split = SearchSplit(np.arange(5), np.arange(5, 9), "pruned-away")
    search = grid_search([1.0, 0.9, 0.0, 0.5, 0.9], lambda w: Trial(w, accuracies[w], 10, 1.0), split)
    assert search.weight == 0.9
    assert [t.weight for t in search.trials] == [0.0, 0.5, 0.9, 1.0]
    assert (search.validation, search.validation_size) == ("pruned-away", 4)


def test_equal_pilots_give_the_smaller_weight() -> None:
    split = SearchSplit(np.arange(5), np.arange(5, 9), "pruned-away")
    assert grid_search([0.9, 0.5], lambda w: Trial(w, 60.0, 10, 1.0), split).weight == 0.5
