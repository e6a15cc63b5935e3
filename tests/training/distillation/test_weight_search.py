"""The decision of `--kd-weight auto`: validation set, search budget, response curve, choice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datapruning.config.kd import KDConfig
from datapruning.errors import InvalidValue
from datapruning.training.distillation.weight_search import (
    LABELS_ONLY,
    MAX_SEARCH_COST,
    Candidate,
    Probes,
    choose_validation_set,
    decide,
    evaluate_probe,
    fit_response,
    prior_weight,
    probe_budget,
    probe_candidates,
    search_cost,
)
from datapruning.utils.cost import FORWARD_PASS_COST


@settings(deadline=None)
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
    assert allowed <= MAX_SEARCH_COST
    validation, item = probe_budget(allowed, samples, probes, 5000)
    assert probes * (item + FORWARD_PASS_COST * validation) <= max(allowed * samples, probes * (1 + FORWARD_PASS_COST))


def test_large_runs_use_the_search_budget_and_small_ones_more() -> None:
    assert search_cost(0.25, 100_000) == search_cost(0.25, 10**9) == 0.25
    assert search_cost(0.25, 25_000) == pytest.approx(0.5)
    assert search_cost(0.25, 10) == MAX_SEARCH_COST


def marks(rates: list[float], validation: int = 4000, seed: int = 0) -> NDArray[np.bool_]:
    """Make correctness bool [probes, samples] of probes with these accuracies on the same samples."""
    hardness = np.random.default_rng(seed).random(validation)
    return np.array([hardness < rate for rate in rates])


EVEN = np.full(4000, 1 / 4000)


def test_the_curve_fits_precise_probes_and_their_peak() -> None:
    tried = [0.0, 0.3, 0.6, 0.9]
    curve = fit_response(tried, marks([0.5, 0.7, 0.8, 0.75]), EVEN, 0.6)
    by_weight = {point.weight: point for point in curve}
    assert by_weight[0.0].accuracy == pytest.approx(50, abs=3)
    assert by_weight[0.6].accuracy == pytest.approx(80, abs=1.5)
    top = max(curve, key=lambda point: point.accuracy)
    assert 0.5 <= top.weight <= 0.85
    assert top.low == top.high == top.accuracy  # bounds are those of the difference to the best
    assert all(point.low <= point.accuracy <= point.high for point in curve)


def test_uninformative_probes_keep_the_prior() -> None:
    curve = fit_response([0.3, 0.6, 0.9], marks([0.8, 0.8, 0.8]), EVEN, 0.6)
    assert max(curve, key=lambda point: point.accuracy).weight == 0.6


def test_noise_counts_for_less_than_its_size() -> None:
    few = 100
    curve = fit_response([0.3, 0.6, 0.9], marks([0.80, 0.79, 0.81], few), np.full(few, 1 / few), 0.6)
    assert max(p.accuracy for p in curve) - min(p.accuracy for p in curve) < 1


def test_probes_are_the_grid_another_temperature_and_labels_alone() -> None:
    arms = probe_candidates(KDConfig(weight_grid=(0.9, 0.3, 0.6, 0.3)))
    assert arms == [
        LABELS_ONLY,
        *(Candidate(w, 2.0, confidence_weighting=True) for w in (0.3, 0.6, 0.9)),
        Candidate(0.6, 4.0, confidence_weighting=True),
    ]
    assert probe_candidates(KDConfig(weight_grid=(0.0, 1.0), temperatures=(2.0,), confidence_weighting=False)) == [
        LABELS_ONLY,
        Candidate(1.0, 2.0, confidence_weighting=False),
    ]
    assert prior_weight([0.0, 0.9]) == 0.9


def best(arms: list[Candidate], correct: NDArray[np.bool_], temperature: float, prior: float) -> Candidate:
    """Return the decision after a shared prefix with this temperature and weight."""
    return decide(Probes(arms, correct, EVEN), Candidate(prior, temperature, confidence_weighting=True))[0]


def test_the_best_weight_wins() -> None:
    arms = probe_candidates(KDConfig())
    choice = best(arms, marks([0.5, 0.6, 0.7, 0.8, 0.69]), 2.0, 0.6)
    assert choice == Candidate(0.9, 2.0, confidence_weighting=True)


def test_another_temperature_wins_where_it_is_clearly_better() -> None:
    arms = probe_candidates(KDConfig())
    assert best(arms, marks([0.5, 0.7, 0.7, 0.7, 0.75]), 2.0, 0.6).temperature == 4.0
    assert best(arms, marks([0.5, 0.7, 0.7, 0.7, 0.701]), 2.0, 0.6).temperature == 2.0


def test_a_harmful_teacher_is_dropped() -> None:
    arms = probe_candidates(KDConfig())
    assert best(arms, marks([0.8, 0.7, 0.6, 0.5, 0.6]), 2.0, 0.6) == LABELS_ONLY
    arms = probe_candidates(KDConfig(weight_grid=(0.0, 0.5, 1.0), temperatures=(4.0,), confidence_weighting=False))
    assert best(arms, marks([0.8, 0.7, 0.6]), 4.0, 0.5) == LABELS_ONLY


def test_another_teacher_wins_where_it_is_clearly_better() -> None:
    arms = probe_candidates(KDConfig(), teachers=3)
    assert [arm.teacher for arm in arms] == [0, 0, 0, 0, 0, 1, 2]
    assert best(arms, marks([0.5, 0.7, 0.7, 0.7, 0.7, 0.75, 0.8]), 2.0, 0.6).teacher == 2
    assert best(arms, marks([0.5, 0.7, 0.7, 0.7, 0.7, 0.701, 0.6]), 2.0, 0.6).teacher == 0
    candidates = [Candidate(0.9, 4.0, confidence_weighting=False, teacher=teacher) for teacher in (0, 1)]
    choice = best(candidates, marks([0.7, 0.8]), 4.0, 0.9)
    assert choice == Candidate(0.9, 4.0, confidence_weighting=False, teacher=1)


def test_a_trial_states_its_standard_error() -> None:
    correct = np.arange(400) < 300
    trial = evaluate_probe(Candidate(0.3, 2.0, confidence_weighting=True), correct, np.full(400, 1 / 400), 10, 1.5)
    assert trial.accuracy == 75
    assert trial.stderr == pytest.approx(100 * np.sqrt(0.75 * 0.25 / 400), abs=1e-3)
