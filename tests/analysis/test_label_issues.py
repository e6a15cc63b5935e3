"""Likely wrong labels: ranked as worked out by hand, and planted errors are detected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datapruning as dp
from datapruning import scorers
from datapruning.analysis import label_issues
from datapruning.analysis.pred_probs import count_confident_label_issues, most_likely_other_class
from datapruning.artifacts.label_issues import LabelIssues, load_label_issues
from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, UnknownName
from datapruning.evidence.ensemble import Member, SubsetEnsemble, write_member
from datapruning.evidence.manifests import DONE
from datapruning.evidence.recording import RUNNER_UP
from datapruning.evidence.sample_stats import runner_up_class
from datapruning.io.json import read_json, write_json
from datapruning.runs.context import Context
from datapruning.utils.cost import ComputeCost

TOTAL, WRONG = 400, 40
"""Digits of `noisy`, and how many of them, the first ones, have a wrong label."""


@pytest.fixture(scope="session")
def noisy(digits: Dataset) -> tuple[Dataset, np.ndarray[Any, Any]]:
    """Make digits with a tenth of the labels wrong, and return the true labels."""
    true = digits.train.labels[:TOTAL]
    labels = true.copy()
    labels[:WRONG] = (labels[:WRONG] + 1 + np.arange(WRONG) % 9) % 10
    train = Split(digits.train.images[:TOTAL], labels)
    return Dataset("noisy", train, digits.test, digits.class_names), true


def recorded(folder: Path, final: bool = True) -> Path:
    """Make a recording of two epochs of four samples in three classes, with results worked out by hand below."""
    labels = torch.tensor([0, 1, 2, 0])
    epochs = [
        torch.tensor([[4.0, 0, 1], [0, 2, 0], [5, 1, 0], [1, 0, 0]]),
        torch.tensor([[2.0, 0, 1], [0, 4, 0], [3, 4, 0], [0, 2, 0]]),
    ]
    recorder = dp.record(folder, "my images", total=4, epochs=2)
    for epoch, logits in enumerate(epochs):
        recorder.start_epoch(epoch)
        recorder.update(logits, labels, np.arange(4))
        recorder.end_epoch()
    if final:
        recorder.start_final_evaluation()
        recorder.update(torch.tensor([[9.0, 1, 2], [3, 9, 3], [1, 2, 9], [0, 1, 2]]), labels, torch.arange(4))
        recorder.end_epoch()
    return recorder.finish()


def test_label_issues_of_a_recording_by_hand(tmp_path: Path) -> None:
    # margins: 3 and 1; 2 and 4; -5 and -4; 1 and -2
    issues = dp.find_label_issues_of_recording(recorded(tmp_path), count=3, class_names=["cat", "dog", "owl"])
    assert [(r.id, r.label_name, r.suggested_name) for r in issues.rows] == [
        (2, "owl", "dog"), (3, "cat", "owl"), (0, "cat", "owl"),
    ]  # fmt: skip
    assert [r.score for r in issues.rows] == [4.5, 0.5, -2.0]
    p = np.array([[1 / (np.e**5 + np.e + 1), 1 / (np.e**3 + np.e**4 + 1)], [np.e / (np.e + 2), 1 / (2 + np.e**2)]])
    np.testing.assert_allclose([r.label_prob for r in issues.rows[:2]], p.mean(1), rtol=1e-5)
    assert issues.order == "aum, highest scores first"
    assert dp.find_label_issues_of_recording(tmp_path, count=4).rows[3].label_name == "1", (
        "classes are called by their number"
    )


def test_without_a_final_evaluation_no_label_is_suggested(tmp_path: Path) -> None:
    issues = dp.find_label_issues_of_recording(recorded(tmp_path, final=False), count=1, out=tmp_path / "s.csv")
    assert (issues.rows[0].id, issues.rows[0].suggested, issues.rows[0].suggested_name) == (2, None, "")
    assert load_label_issues(tmp_path / "s.csv").rows[0].suggested is None


def test_runner_up_classes_are_the_best_of_the_others() -> None:
    logits = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 6
    others = logits.numpy().copy()
    others[np.arange(50), labels] = -np.inf
    np.testing.assert_array_equal(runner_up_class(logits, labels).numpy(), others.argmax(1))
    assert runner_up_class(torch.zeros(2, 3), torch.tensor([0, 2])).tolist() == [1, 0], "of equals the lower class"


def test_broken_runner_up_classes_are_named(tmp_path: Path) -> None:
    recording = dp.open_recording(recorded(tmp_path))
    path = recording.run_folder(0) / RUNNER_UP
    path.write_bytes(b"no array")
    with pytest.raises(InvalidFile, match=r"runner_up.npy was changed since it was written"):
        recording.runner_up_classes()
    done = path.parent / DONE
    write_json(done, {**read_json(done), "sha256": {}})
    np.save(path, np.zeros(3, np.int32))
    with pytest.raises(InvalidFile, match=r"runner_up.npy is int32 \[3\]"):
        recording.runner_up_classes()
    path.write_bytes(b"no array")
    with pytest.raises(InvalidFile, match=r"runner_up.npy holds no whole array of classes"):
        recording.runner_up_classes()
    path.unlink()
    assert recording.runner_up_classes() is None


def ensemble_of(folder: Path, labels: Any, inside: Any, probs: Any) -> SubsetEnsemble:
    """Make an ensemble from bool [members, N] and float [members, N, classes]."""
    labels, inside, probs = np.asarray(labels), np.asarray(inside, bool), np.asarray(probs, np.float16)
    nothing = np.zeros(len(labels), np.float32)
    for k, (mask, member_probs) in enumerate(zip(inside, probs, strict=True)):
        correct = member_probs.argmax(1) == labels
        write_member(
            folder / f"{k}.npz",
            Member(mask, correct, nothing, nothing, member_probs[~mask], np.ones(2, bool), ComputeCost()),
            k,
        )
    return SubsetEnsemble(tuple(folder / f"{k}.npz" for k in range(len(inside))), labels, ComputeCost())


def test_the_ensemble_ranks_by_members_that_never_saw_the_sample(
    tmp_path: Path, small_dataset: Dataset, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = small_dataset.train.labels
    rng = np.random.default_rng(0)
    inside = np.arange(120) % 3 != np.arange(6)[:, None] % 3  # each sample is outside of two members
    raw = rng.random((6, 120, 4)) + 0.01
    probs = raw / raw.sum(2, keepdims=True)
    probs[inside] = np.eye(4)[labels][np.nonzero(inside)[1]]  # those that saw it are sure of the label: must not count
    monkeypatch.setattr(label_issues, "open_ensemble", lambda context, seed: ensemble_of(tmp_path, labels, inside, probs))
    issues = dp.find_label_issues(make_context(small_dataset), "ensemble", count=120)
    weights = (~inside[:, :, None]) / 2
    expected = (probs.astype(np.float16) * weights).sum(0)
    label_probs = expected[np.arange(120), labels]
    assert {r.id for r in issues.rows} == set(range(120))
    ordered = [label_probs[r.id] for r in issues.rows]
    assert np.all(np.diff(ordered) >= -1e-3)
    for row in issues.rows:
        others = np.where(np.arange(4) == labels[row.id], -1, expected[row.id])
        assert row.suggested == others.argmax()
        assert row.label_prob == row.score == pytest.approx(label_probs[row.id], abs=1e-3)
    assert issues.order == "ensemble, lowest scores first"


def test_equal_scores_are_ordered_by_the_label_s_probability_then_by_id() -> None:
    rng = np.random.default_rng(1)
    values, label_probs = rng.integers(0, 3, 40).astype(np.float32), rng.integers(0, 3, 40) / 2
    predictions = label_issues._Predictions(label_probs, None, "")
    identity = Dataset("d", *[Split(np.zeros((40, 1, 1, 1), np.uint8), np.zeros(40, np.int64))] * 2, ("a",))
    for scorer, sign in (("aum", -1), ("knn", 1)):
        scores = dp.Scores(values, ScoresMetadata(**common_fields(identity), scorer=scorer))
        result = label_issues._rank(scores, predictions, identity.train.labels, ["a"], 40, identity)
        keys = [(sign * values[r.id], label_probs[r.id], r.id) for r in result.rows]
        assert keys == sorted(keys)


def test_confident_learning_counts_as_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.85, 0.15]], np.float32)
    labels = np.array([0, 0, 0, 1, 1, 1])
    # thresholds 0.8 and 0.6167: only the last one reaches another class's
    assert count_confident_label_issues(probs, labels) == 1
    assert most_likely_other_class(probs, labels).tolist() == [1, 1, 1, 0, 0, 0]
    assert count_confident_label_issues(np.array([[0.2, 0.8, 0.0]] * 2, np.float32), np.array([0, 0])) == 0, (
        "no sample has class 1"
    )


def test_confident_learning_counts_as_cleanlab_does() -> None:
    count = pytest.importorskip("cleanlab.count", reason="cleanlab is not installed")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    logits = rng.normal(size=(500, 4)) + 3 * np.eye(4)[np.where(rng.random(500) < 0.2, rng.integers(0, 4, 500), labels)]
    probs = np.exp(logits)
    probs = (probs / probs.sum(1, keepdims=True)).astype(np.float32)
    joint = count.compute_confident_joint(labels, probs.astype(np.float64), calibrate=False)
    assert count_confident_label_issues(probs, labels) == joint.sum() - np.trace(joint) > 0


def planted_in(issues: LabelIssues) -> float:
    """Return the fraction of label issues whose label is wrong."""
    return float(np.mean([row.id < WRONG for row in issues.rows]))


def test_planted_label_errors_rank_at_the_documented_end(
    make_context: Callable[..., Context], noisy: tuple[Dataset, np.ndarray[Any, Any]]
) -> None:
    data, true = noisy
    settings = ("proxy.epochs=8", "proxy.batch_size=16", "evidence.early_epoch=4")
    members = ("ensemble_member.epochs=6", "ensemble.num_members=10", "ensemble_member.batch_size=16")
    context = make_context(data, *settings, *members, recipe="digits")
    shares = {}
    for name in label_issues.ISSUE_END:
        issues = dp.find_label_issues(context, name, count=WRONG)
        shares[name] = planted_in(issues)
        guessed = [row.suggested == true[row.id] for row in issues.rows if row.id < WRONG]
        assert np.mean(guessed) > 0.7, name
    assert min(shares.values()) > 0.4, shares  # 0.1 by chance, less at the other end
    assert min(shares["aum"], shares["ensemble"]) > 0.8, shares


def test_scorers_of_wrong_labels_exist_and_others_are_refused_by_name() -> None:
    assert set(label_issues.ISSUE_END) - {"ensemble"} <= set(scorers.find_scorers())
    with pytest.raises(UnknownName, match=r"unknown scorer of wrong labels 'entropy'.*aum"):
        label_issues.check_scorer("entropy")


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(None, None, 50), (7, None, 7), (None, "0.02", 2), (None, 1, 120), (None, 1e-9, 1)]
)
def test_the_number_of_listed_issues(count: int | None, fraction: Any, expected: int) -> None:
    assert label_issues.resolve_count(count, fraction, 120) == expected


def test_a_small_dataset_is_listed_completely_by_default() -> None:
    assert label_issues.resolve_count(None, None, 20) == 20


@pytest.mark.parametrize(
    ("count", "fraction", "message"),
    [
        (3, 0.5, "not by both"), (0, None, "0 were asked for"), (121, None, "120 training samples"),
        (None, "0", "0 < fraction <= 1; got 0"), (None, "many", "got many"), (None, "nan", "got nan"),
        (None, 1.1, "got 1.1"),
    ],
)  # fmt: skip
def test_invalid_counts_and_fractions_are_refused(count: int | None, fraction: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        label_issues.resolve_count(count, fraction, 120)


def test_a_recording_of_other_data_is_refused(tmp_path: Path, digits: Dataset) -> None:
    with pytest.raises(IncompatibleInputs, match="was recorded on another dataset"):
        dp.find_label_issues_of_recording(recorded(tmp_path), count=1, data=digits)
    with pytest.raises(InvalidValue, match=r"2 class names were given, and .* has a class 2"):
        dp.find_label_issues_of_recording(tmp_path, count=1, class_names=["a", "b"])
    with pytest.raises(InvalidValue, match="holds no ensemble"):
        dp.find_label_issues_of_recording(tmp_path, "ensemble")
