"""Scorers of training dynamics and of the final evaluation against float64 references written with plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datapruning import scorers
from datapruning.evidence.dynamics import FinalEvaluation, TrainingDynamics
from datapruning.evidence.sample_stats import EVAL_STATISTICS, statistics
from tests.helpers.evidence_cases import learning_logits, make_sample_stats, record_dynamics, softmax

Array = NDArray[np.float64]


def probabilities_of(seed: int, epochs: int, total: int = 7, classes: int = 4) -> Array:
    """Random probabilities [epochs, total, classes], some of them near 0."""
    logits = 3 * np.random.default_rng(seed).normal(size=(epochs, total, classes))
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def changes_of(p: Array) -> Array:
    """sum_c |p' log((p' + 1e-8) / (p + 1e-8))| [epochs, total]; 0 in the first epoch."""
    changes = np.zeros(p.shape[:2])
    for epoch in range(1, p.shape[0]):
        for i in range(p.shape[1]):
            for current, previous in zip(p[epoch, i], p[epoch - 1, i], strict=True):
                changes[epoch, i] += abs(current * math.log((current + 1e-8) / (previous + 1e-8)))
    return changes


def tdds_of(changes: list[float]) -> float:
    """Return TDDS of one sample by its definition, window by window; `changes[0]` of the first epoch is unused."""
    changes = changes[:90]
    epochs, window = len(changes), min(10, len(changes))
    total = 0.0
    for end in range(window, epochs + 1):
        inside = changes[end - window + 1 : end]
        mean = sum(inside) / len(inside)
        norm = math.sqrt(sum((change - mean) ** 2 for change in inside))
        total += 0.9 * 0.1 ** (epochs - end) * norm
    return total


@pytest.mark.parametrize("epochs", [2, 6, 10, 11, 25, 95])
def test_tdds_window_by_window(tmp_path: Path, epochs: int) -> None:
    changes = [changes_of(probabilities_of(seed, epochs)) for seed in range(2)]
    runs = tuple(make_sample_stats(tmp_path / str(k), change=change) for k, change in enumerate(changes))
    values, stderr = scorers.get_scorer("tdds")(TrainingDynamics(runs))
    expected = [np.mean([tdds_of(list(change[:, i])) for change in changes]) for i in range(7)]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert stderr is None
    if epochs > 2:
        assert values.min() > 0  # the reference is no row of zeros


def test_tdds_of_a_single_epoch_is_zero(tmp_path: Path) -> None:
    values, _ = scorers.get_scorer("tdds")(TrainingDynamics((make_sample_stats(tmp_path, change=np.zeros((1, 3))),)))
    np.testing.assert_array_equal(values, np.zeros(3))


def test_tdds_ignores_epochs_after_90(tmp_path: Path) -> None:
    change = np.random.default_rng(0).random((100, 5))
    other = change.copy()
    other[90:] = 7
    scores = [
        scorers.get_scorer("tdds")(TrainingDynamics((make_sample_stats(tmp_path / str(k), change=item),)))[0]
        for k, item in enumerate((change, other, change[:90]))
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def dual_of(probabilities: list[float]) -> float:
    """10 * deviation * (1 - mean), mean over windows of 10 of the first 30 epochs."""
    probabilities = probabilities[:30]
    length = min(10, len(probabilities))
    windows = [torch.tensor(probabilities[k : k + length]).double() for k in range(len(probabilities) - length + 1)]
    return float(np.mean([10 * float(w.std()) * (1 - float(w.mean())) for w in windows]))


def dyn_unc_of(probabilities: list[float]) -> float:
    """10 * deviation, mean over windows of 10 of all epochs."""
    length = min(10, len(probabilities))
    windows = [torch.tensor(probabilities[k : k + length]).double() for k in range(len(probabilities) - length + 1)]
    return float(np.mean([10 * float(w.std()) for w in windows]))


@pytest.mark.parametrize("epochs", [3, 10, 17, 45])
@pytest.mark.parametrize(("name", "reference"), [("dual", dual_of), ("dyn-unc", dyn_unc_of)])
def test_windows_of_the_label_probability(
    tmp_path: Path, name: str, reference: Callable[[list[float]], float], epochs: int
) -> None:
    label = [probabilities_of(seed, epochs)[:, :, 0] for seed in range(2)]
    runs = tuple(make_sample_stats(tmp_path / str(k), loss=-np.log(p)) for k, p in enumerate(label))
    values, _ = scorers.get_scorer(name)(TrainingDynamics(runs))
    np.testing.assert_allclose(values, [np.mean([reference(list(p[:, i])) for p in label]) for i in range(7)], rtol=1e-5)


def test_deviation_of_one_epoch_is_zero(tmp_path: Path) -> None:
    one = TrainingDynamics((make_sample_stats(tmp_path, loss=np.array([[0.1, 0.2]])),))
    for name in ("dual", "dyn-unc"):
        np.testing.assert_array_equal(scorers.get_scorer(name)(one)[0], [0, 0])


def test_aum_is_minus_the_mean_margin_over_epochs(tmp_path: Path) -> None:
    margins = [[[4.0, -1.0], [2.0, -3.0]], [[0.0, -2.0], [6.0, -2.0]]]
    runs = tuple(make_sample_stats(tmp_path / str(k), margin=np.array(item)) for k, item in enumerate(margins))
    np.testing.assert_allclose(scorers.get_scorer("aum")(TrainingDynamics(runs))[0], [-3.0, 2.0])


def test_el2n_online_reads_at_most_ten_epochs(tmp_path: Path) -> None:
    norms = np.arange(28.0).reshape(14, 2) / 100
    dynamics = TrainingDynamics((make_sample_stats(tmp_path, error_norm=norms),))
    # 0.00 + 0.02 + ... + 0.18 and 0.01 + 0.03 + ... + 0.19
    np.testing.assert_allclose(scorers.get_scorer("el2n-online")(dynamics)[0], [0.9, 1.0], rtol=1e-6)


def test_final_evaluation_scorers_equal_float64_references(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits, labels = 2 * rng.normal(size=(2, 9, 5)), rng.integers(0, 5, 9)
    tracks = []
    for k in range(2):
        stats = statistics(torch.from_numpy(logits[k]).float(), torch.from_numpy(labels))
        tracks.append(
            make_sample_stats(
                tmp_path / str(k), EVAL_STATISTICS, **{name: value.numpy()[None] for name, value in stats.items()}
            )
        )
    look = FinalEvaluation(tuple(tracks))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    ordered = np.sort(p, -1)
    expected = {
        "loss": -np.log(p[:, np.arange(9), labels]),
        "entropy": -(p * np.log(p)).sum(-1),
        "margin": -(ordered[..., -1] - ordered[..., -2]),
        "confidence": -ordered[..., -1],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(scorers.get_scorer(name)(look)[0], values.mean(0), rtol=1e-5, atol=1e-6, err_msg=name)


def test_final_evaluation_signs_by_hand(tmp_path: Path) -> None:
    # sample 0: sure and right; 1: sure and wrong; 2: undecided
    logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [1.0, 1.0]])
    stats = statistics(logits, torch.tensor([0, 1, 0]))
    look = FinalEvaluation(
        (make_sample_stats(tmp_path, EVAL_STATISTICS, **{name: value.numpy()[None] for name, value in stats.items()}),)
    )
    best = {name: int(scorers.get_scorer(name)(look)[0].argmax()) for name in ("loss", "entropy", "margin", "confidence")}
    assert best == {"loss": 1, "entropy": 2, "margin": 2, "confidence": 2}
    np.testing.assert_allclose(scorers.get_scorer("entropy")(look)[0][2], math.log(2), rtol=1e-6)
    np.testing.assert_allclose(scorers.get_scorer("margin")(look)[0][2], 0, atol=1e-7)
    np.testing.assert_allclose(scorers.get_scorer("confidence")(look)[0][2], -0.5)


@pytest.mark.parametrize("name", ["tdds", "dual", "dyn-unc", "aum", "el2n-online", "forgetting"])
def test_permuting_the_samples_permutes_the_scores(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "loss": rng.exponential(size=(14, 30)), "margin": rng.normal(size=(14, 30)), "error_norm": rng.random((14, 30)),
        "change": rng.random((14, 30)), "correct": rng.integers(0, 2, (14, 30)),
    }  # fmt: skip
    order = rng.permutation(30)
    read = scorers.get_scorer(name)
    values, _ = read(TrainingDynamics((make_sample_stats(tmp_path / "a", **columns),)))
    moved = {item: array[:, order] for item, array in columns.items()}
    np.testing.assert_array_equal(read(TrainingDynamics((make_sample_stats(tmp_path / "b", **moved),)))[0], values[order])


@pytest.mark.parametrize("epochs", [6, 14])
def test_scores_of_recorded_logits(tmp_path: Path, epochs: int) -> None:
    logits, labels = learning_logits(epochs, 25, seed=epochs)
    dynamics = record_dynamics(tmp_path, logits, labels)
    p, rows = softmax(logits), np.arange(25)
    stored = np.log(p + 1e-8).astype(np.float16).astype(np.float64)  # of the epoch before, as they are kept
    changes = np.zeros((epochs, 25))
    for epoch in range(1, epochs):
        changes[epoch] = np.abs(p[epoch] * (np.log(p[epoch] + 1e-8) - stored[epoch - 1])).sum(1)
    label_probs = p[:, rows, labels]
    others = np.where(np.eye(4)[labels] == 1, -np.inf, logits).max(2)
    correct = logits.argmax(2) == labels
    forgotten = [sum(correct[e - 1, i] and not correct[e, i] for e in range(1, epochs)) for i in rows]
    expected = {
        "tdds": [tdds_of(list(changes[:, i])) for i in rows],
        "dual": [dual_of(list(label_probs[:, i])) for i in rows],
        "dyn-unc": [dyn_unc_of(list(label_probs[:, i])) for i in rows],
        "aum": (others - logits[:, rows, labels]).mean(0),
        "el2n-online": np.linalg.norm(p - np.eye(4)[labels], axis=2)[:10].sum(0),
        "forgetting": [forgotten[i] if correct[:, i].any() else epochs for i in rows],
    }
    for name, values in expected.items():
        scores, _ = scorers.get_scorer(name)(dynamics)
        np.testing.assert_allclose(scores, values, rtol=2e-4, atol=1e-5, err_msg=name)
    exact = [tdds_of(list(column)) for column in changes_of(p).T]  # without the rounding
    np.testing.assert_allclose(scorers.get_scorer("tdds")(dynamics)[0], exact, rtol=0.02, atol=2e-3)
