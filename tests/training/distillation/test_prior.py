"""The prior of a search: what it reads, what it proposes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.errors import InvalidFile
from datapruning.io.json import write_json
from datapruning.runs.training_records import LABELS_ONLY, Candidate, Regime
from datapruning.training.distillation.candidates import TEMPERATURES, WEIGHTS
from datapruning.training.distillation.prior import (
    PriorModel,
    features,
    measure_regime,
    proposed_views,
    read_prior,
    terms,
)  # fmt: skip

MEMORISED = Regime(kept_per_class=50, epochs=200, agreement=0.999, confidence=0.98, wrong_labels=0)
"""10% of CIFAR-100, a million samples, a teacher near 100% on its training data."""
UNDERFITTED = Regime(kept_per_class=50, epochs=60, agreement=0.851, confidence=0.785, wrong_labels=0.004)
"""10% of 20 classes of CIFAR-100, a teacher of 3 epochs (benchmarks/results/memorised_teacher.md)."""
SPACE = [
    *(LABELS_ONLY.model_copy(update={"augmentation": augmentation}) for augmentation in ("recipe", "resized")),
    *(
        Candidate(weight=weight, temperature=temperature, augmentation=augmentation)
        for weight in WEIGHTS for temperature in TEMPERATURES for augmentation in ("recipe", "resized")
    ),
]  # fmt: skip


def propose(regime: Regime) -> Candidate:
    """The proposal of the package's prior."""
    return SPACE[int(np.argmax(read_prior().expected(SPACE, regime, recipe_resized=False)))]


def test_a_memorised_teacher_calls_for_a_high_temperature_and_resized_crops() -> None:
    proposal = propose(MEMORISED)
    assert (proposal.weight, proposal.augmentation) == (1.0, "resized")
    assert proposal.temperature >= 10
    assert proposed_views(epochs=200, recipe_views=16, bytes_of_view=10**6) >= 50


def test_an_underfitted_teacher_decides_nearly_alone_on_shifted_crops_where_little_is_kept() -> None:
    proposal = propose(UNDERFITTED)
    assert proposal.weight >= 0.9
    assert proposal.augmentation == "recipe"


def test_much_data_needs_the_labels_too() -> None:
    assert propose(Regime(kept_per_class=250, epochs=20, agreement=0.82, confidence=0.7, wrong_labels=0.01)).weight < 1


def test_a_teacher_that_disagrees_is_trusted_where_the_labels_look_wrong() -> None:
    def weight(wrong_labels: float) -> float:
        regime = Regime(kept_per_class=250, epochs=6, agreement=0.6, confidence=0.5, wrong_labels=wrong_labels)
        return propose(regime).weight

    assert weight(0.01) <= 0.5
    assert weight(0.14) >= 0.75


def test_labels_alone_do_not_depend_on_the_teacher() -> None:
    for temperature in (1.0, 20.0):
        candidate = LABELS_ONLY.model_copy(update={"temperature": temperature})
        values = terms(candidate, features(MEMORISED, 0.5), recipe_resized=False, teacher_ages=(0.5,))
        assert not any(values.values())


def test_regimes_beyond_those_that_were_fitted_are_read_at_the_border() -> None:
    prior = read_prior()
    far, farther = (
        Regime(kept_per_class=k, epochs=1e5, agreement=0.0, confidence=1.0, wrong_labels=1.0) for k in (1e5, 1e7)
    )
    expected = [prior.expected(SPACE, regime, recipe_resized=False) for regime in (far, farther)]
    assert np.array_equal(*expected)


class Labels:
    """Soft labels of two teachers whose mean probability of class (id mod 3) is 0.8."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        ids, epoch = key
        assert epoch == 0
        probs = torch.full((2, len(ids), 3), 0.1)
        probs[:, torch.arange(len(ids)), torch.from_numpy(ids) % 3] = torch.tensor([[0.9], [0.7]])
        rest = (1 - probs.max(2, keepdim=True).values) / 2
        return torch.where(probs > 0.5, probs, rest).log()


def test_the_regime_is_what_the_teachers_say_of_the_kept_samples() -> None:
    ids = np.arange(0, 9000, 3)[:2500] + np.arange(2500) % 3
    targets = np.arange(9000) % 3
    targets[ids[:500]] = (targets[ids[:500]] + 1) % 3  # wrong labels
    regime = measure_regime(Labels(), targets, ids, 12, 3)
    assert (regime.kept_per_class, regime.epochs) == (2500 / 3, 12)
    assert regime.agreement == pytest.approx(0.8)
    assert regime.confidence == pytest.approx(0.8, abs=1e-5)


class RankedLabels:
    """Soft labels of a teacher that ranks the classes of sample i in the order of `ranking[i]`."""

    def __init__(self, ranking: NDArray[np.int64]) -> None:
        self._logits = torch.from_numpy(-np.argsort(ranking, axis=1).astype(np.float32))

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        return self._logits[None, torch.from_numpy(key[0])]


@pytest.mark.parametrize("classes", [2, 3, 10, 25])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_labels_that_are_wrong_at_random_are_counted(classes: int, share: float) -> None:
    rng, ids = np.random.default_rng(0), np.arange(20_000)
    ranking = np.argsort(rng.random((len(ids), classes)), axis=1)
    targets = ranking[:, 0].copy()
    wrong = ids[: round(share * len(ids))]
    targets[wrong] = ranking[wrong, rng.integers(1, classes, len(wrong))]
    assert measure_regime(RankedLabels(ranking), targets, ids, 1, classes).wrong_labels == pytest.approx(share, abs=0.01)


def test_labels_that_a_teacher_has_not_learned_yet_are_not_wrong() -> None:
    rng, ids = np.random.default_rng(0), np.arange(2000)
    ranking = np.argsort(rng.random((len(ids), 20)), axis=1)
    targets = ranking[ids, rng.integers(0, 3, len(ids))]  # anywhere among its first three
    regime = measure_regime(RankedLabels(ranking), targets, ids, 1, 20)
    assert regime.agreement < 0.4
    assert regime.wrong_labels == 0


@pytest.mark.parametrize(
    ("epochs", "recipe_views", "bytes_of_view", "views"),
    [(60, 16, 1, 16), (200, 16, 1, 64), (600, 16, 1, 256), (600, 16, 2**30, 16), (1, 1, 1, 1), (600, 300, 1, 300)],
)
def test_a_view_is_seen_at_most_four_times_where_its_labels_fit(
    epochs: int, recipe_views: int, bytes_of_view: int, views: int
) -> None:
    assert proposed_views(epochs, recipe_views, bytes_of_view) == views


def test_a_file_of_coefficients_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "prior.json"
    write_json(path, PriorModel(coefficients={"weight": 2.0}, ranges={}, fitted_on=("nothing",)).to_json())
    assert read_prior(str(path)).expected(SPACE, MEMORISED, recipe_resized=False).max() == 2
    other = tmp_path / "other.json"
    write_json(other, PriorModel(coefficients={"wieght": 2.0}, ranges={}, fitted_on=()).to_json())
    with pytest.raises(InvalidFile, match="no term 'wieght' in the prior; there are: weight, "):
        read_prior(str(other))
    with pytest.raises(InvalidFile):
        read_prior(str(tmp_path / "missing.json"))
