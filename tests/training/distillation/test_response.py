"""The decision of a search: probes against the prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from datapruning.runs.training_records import LABELS_ONLY, Augmentation, Candidate
from datapruning.training.distillation.candidate_search import CandidateSearch, Proposal
from datapruning.training.distillation.response import (
    Probes,
    correlations,
    evaluate_probe,
    posterior,
    response_curve,
)  # fmt: skip

WEIGHTS = (0.25, 0.5, 0.75, 1.0)
SPACE = [
    LABELS_ONLY,
    *(Candidate(weight=weight, temperature=t) for weight in WEIGHTS for t in (4.0, 20.0)),
    *(Candidate(weight=weight, temperature=4.0, augmentation="resized") for weight in WEIGHTS),
    Candidate(weight=1.0, temperature=4.0, teacher=1),
]
PROPOSED = Candidate(weight=1.0, temperature=4.0)
FAVOUR = np.array([float(candidate == PROPOSED) for candidate in SPACE])
"""A prior that expects a point more of what it proposes."""


def marks(rates: Sequence[float], validation: int = 4000, seed: int = 0) -> NDArray[np.bool_]:
    """Make correctness bool [probes, samples] of probes with these accuracies on the same samples."""
    hardness = np.random.default_rng(seed).random(validation)
    return np.array([hardness < rate for rate in rates])


def decide(rates: dict[Candidate, float], validation: int = 4000) -> Candidate:
    """The choice after probes with these accuracies."""
    probes = Probes(list(rates), marks(list(rates.values()), validation), np.full(validation, 1 / validation))
    return SPACE[posterior(SPACE, FAVOUR, probes, PROPOSED).best]


def test_without_probes_the_prior_decides() -> None:
    probes = Probes([], np.empty((0, 10), np.bool_), np.full(10, 0.1))
    result = posterior(SPACE, FAVOUR, probes, PROPOSED)
    assert SPACE[result.best] == PROPOSED
    assert result.mean == pytest.approx(FAVOUR)


def test_probes_that_do_not_differ_keep_the_proposal() -> None:
    assert decide(dict.fromkeys((PROPOSED, LABELS_ONLY, SPACE[3]), 0.7)) == PROPOSED


def test_few_validation_samples_do_not_overrule_the_prior() -> None:
    half = Candidate(weight=0.5, temperature=4.0)
    assert decide({PROPOSED: 0.70, half: 0.72}, validation=60) == PROPOSED


def test_a_clearly_better_candidate_is_taken() -> None:
    half = Candidate(weight=0.5, temperature=4.0)
    assert decide({PROPOSED: 0.60, LABELS_ONLY: 0.5, half: 0.70}).weight < 1
    assert decide({PROPOSED: 0.60, LABELS_ONLY: 0.5, Candidate(weight=1.0, temperature=20.0): 0.66}).temperature == 20
    assert decide({PROPOSED: 0.60, LABELS_ONLY: 0.5, Candidate(weight=1.0, temperature=4.0, teacher=1): 0.66}).teacher == 1


def test_a_harmful_teacher_is_dropped() -> None:
    quarter = Candidate(weight=0.25, temperature=4.0)
    assert decide({PROPOSED: 0.50, LABELS_ONLY: 0.8, quarter: 0.7}) == LABELS_ONLY


def test_probes_under_another_augmentation_count_for_less() -> None:
    """They branch off a training that never saw it."""
    resized = Candidate(weight=1.0, temperature=4.0, augmentation="resized")
    better = {resized: 0.71, PROPOSED: 0.70, LABELS_ONLY: 0.6}
    assert decide(better).augmentation == "recipe"
    assert decide({**better, resized: 0.80}).augmentation == "resized"


def test_crops_and_cutmix_are_judged_apart() -> None:
    """What is measured under resized crops says more of them with CutMix than of CutMix alone."""
    augmentations: tuple[Augmentation, ...] = ("recipe", "resized", "cutmix", "resized and cutmix")
    space = [Candidate(weight=1.0, temperature=4.0, augmentation=augmentation) for augmentation in augmentations]
    recipe, resized, cutmix, both = correlations(space)[1]
    assert resized == 1
    assert recipe == both > cutmix


def test_labels_alone_have_no_temperature() -> None:
    space = [Candidate(weight=0.0, temperature=t) for t in (1.0, 20.0)]
    assert correlations(space) == pytest.approx(np.ones((2, 2)))


@given(st.lists(st.sampled_from(SPACE), min_size=1, max_size=6, unique=True), st.integers(0, 3))
def test_what_was_probed_is_known_better_than_what_was_not(probed: list[Candidate], seed: int) -> None:
    correct = np.random.default_rng(seed).random((len(probed), 500)) < 0.7
    result = posterior(SPACE, FAVOUR, Probes(probed, correct, np.full(500, 1 / 500)), PROPOSED)
    assert np.linalg.eigvalsh(result.covariance).min() > -1e-4  # of 1e4, the variance of the level
    gain = result.expected_improvement()
    assert (gain >= 0).all()
    assert result.spread(result.best)[result.best] == 0


def test_the_curve_has_every_weight_once_and_its_bounds_around_it() -> None:
    probes = Probes([PROPOSED, LABELS_ONLY], marks([0.7, 0.6]), np.full(4000, 1 / 4000))
    result = posterior(SPACE, FAVOUR, probes, PROPOSED)
    for chosen in (PROPOSED, LABELS_ONLY):
        curve = response_curve(SPACE, result, chosen)
        assert [point.weight for point in curve] == [0.0, *WEIGHTS]
        assert all(point.low <= point.accuracy <= point.high for point in curve)
        (own,) = (point for point in curve if point.weight == chosen.weight)
        assert own.low == own.accuracy == own.high


def test_a_probe_states_its_standard_error() -> None:
    correct = np.arange(400) < 300
    probe = evaluate_probe(Candidate(weight=0.3, temperature=2.0), correct, np.full(400, 1 / 400), 10, 1.5)
    assert probe.accuracy == 75
    assert probe.stderr == pytest.approx(100 * np.sqrt(0.75 * 0.25 / 400), abs=1e-3)


def test_where_labels_alone_are_proposed_the_best_candidate_with_a_teacher_is_probed() -> None:
    expected = np.array([3.0 if candidate.labels_only else 2 * candidate.weight for candidate in SPACE])
    search = CandidateSearch(Proposal(LABELS_ONLY, SPACE, expected, None, ()), np.full(4000, 1 / 4000), 3, probe_cost=1.0)
    probed = []
    while (candidate := search.next_candidate()) is not None:
        probed.append(candidate)
        [correct] = marks([0.6 if candidate.labels_only else 0.7])
        search.add(evaluate_probe(candidate, correct, np.full(4000, 1 / 4000), 1, 1.0), correct)
    assert [candidate.weight for candidate in probed] == [0.0, 1.0]
    assert SPACE[search.posterior().best].weight == 1


@pytest.mark.parametrize("rate", [0.4, 0.6])
def test_a_search_stops_sooner_where_a_probe_costs_more(rate: float) -> None:
    """Probes that differ little leave little to gain, which a longer training would gain as well."""
    counts = []
    for probe_cost in (0.001, 0.05, 1.0):
        search = CandidateSearch(Proposal(PROPOSED, SPACE, FAVOUR, None, ()), np.full(4000, 1 / 4000), 10, probe_cost)
        while (candidate := search.next_candidate()) is not None:
            [correct] = marks([rate - 0.03 * candidate.labels_only])
            search.add(evaluate_probe(candidate, correct, np.full(4000, 1 / 4000), 1, 1.0), correct)
        counts.append(len(search.results))
    assert counts[0] > counts[1] >= counts[2] == 2  # the proposal and labels alone are probed in any case
