"""Evidence for tests of evidence and scorers: from given values, or recorded by the real recorder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.evidence.dynamics import FinalEvaluation, TrainingDynamics
from datapruning.evidence.embeddings import Embeddings
from datapruning.evidence.ensemble import Member, SubsetEnsemble, member_path, write_member
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.sample_stats import EVAL_STATISTICS, RECORDED, TRAIN_STATISTICS, SampleStats
from datapruning.utils.cost import ComputeCost

Floats = NDArray[np.float64]
MEMBER_MASKS = [[1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
MEMBER_CORRECT = [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
"""Membership and correctness of an ensemble of five members and four samples, [members, samples]."""


def random_logits(seed: int, count: int, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random logits [count, classes] and labels [count]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, generator=generator) * 3, torch.randint(0, classes, (count,), generator=generator)


def learning_logits(
    epochs: int, total: int, classes: int = 4, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits [epochs, total, classes] that approach labels [total], each sample with its own speed and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, total)
    target_logits = np.eye(classes)[labels] * rng.uniform(-1, 5, (total, 1))
    noise = rng.normal(size=(epochs, total, classes)) * rng.uniform(0.2, 2, (total, 1))
    return (target_logits * np.linspace(0, 1, epochs)[:, None, None] + noise).astype(np.float32), labels


def softmax(logits: NDArray[Any]) -> Floats:
    """Return the softmax over the last axis, in float64."""
    exponentials = np.exp(logits.astype(np.float64))
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True))


def record_dynamics(folder: Path, logits: NDArray[np.float32], labels: NDArray[np.int64], seed: int = 0) -> TrainingDynamics:
    """Record one run of logits [epochs, total, classes] with the real recorder, in shuffled batches of 7."""
    epochs, total, _ = logits.shape
    track = SampleStats(folder / "track", epochs, total)
    recorder = Recorder(track, PredictionChange(folder / "changes", total))
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        recorder.start_epoch(epoch)
        for ids in np.split(rng.permutation(total), range(7, total, 7)):
            recorder.update(torch.from_numpy(logits[epoch, ids]), torch.from_numpy(labels[ids]), ids)
        recorder.end_epoch()
        track.check_complete(epoch)
    return TrainingDynamics((track,))


def make_sample_stats(folder: Path, statistics: tuple[str, ...] = TRAIN_STATISTICS, **columns: Any) -> SampleStats:
    """Make complete statistics from arrays [epochs, samples]; `label_prob` is stored as the loss."""
    if "label_prob" in columns:
        columns["loss"] = -np.log(columns.pop("label_prob"))
    rows, total = np.shape(next(iter(columns.values())))
    track = SampleStats(folder, rows, total, statistics)
    track[RECORDED][:] = 1
    for name, values in columns.items():
        track[name][:] = values
    return track


def make_dynamics(*tracks: SampleStats) -> TrainingDynamics:
    """Make the training dynamics of complete runs."""
    return TrainingDynamics(tracks)


def make_final_evaluation(folder: Path, *runs: dict[str, Any]) -> FinalEvaluation:
    """Make the final evaluation of several runs from statistics [samples]."""
    tracks = (
        make_sample_stats(folder / str(k), EVAL_STATISTICS, **{name: [values] for name, values in run.items()})
        for k, run in enumerate(runs)
    )
    return FinalEvaluation(tuple(tracks))


def make_embeddings(features: Any, labels: Any = None, seed: int = 0) -> Embeddings:
    """Make embeddings from features [N, width], all of one class unless labels are given."""
    matrix = np.asarray(features, np.float16)
    return Embeddings(matrix, np.zeros(len(matrix), np.int64) if labels is None else np.asarray(labels, np.int64), seed)


def class_clusters(total: int = 60, width: int = 6, classes: int = 3, seed: int = 0) -> Embeddings:
    """Make random features without ties, clustered by class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(total) % classes)
    return make_embeddings(rng.normal(size=(classes, width))[labels] * 2 + rng.normal(size=(total, width)), labels)


def make_ensemble(
    folder: Path, inside: object, correct: object, probs: NDArray[np.float64] | None = None, margins: object = None
) -> SubsetEnsemble:
    """Make an ensemble from tables [members, N]; `probs` [members, N, 2] are kept for held-out samples."""
    masks, right = np.asarray(inside, bool), np.asarray(correct, bool)
    count, total = masks.shape
    table = np.full((count, total, 2), 0.5) if probs is None else probs
    margin = np.zeros((count, total), np.float32) if margins is None else np.asarray(margins, np.float32)
    paths = tuple(member_path(folder, k) for k in range(count))
    for k, path in enumerate(paths):
        loss = np.full(total, k, np.float32)
        outside = table[k][~masks[k]].astype(np.float16)
        tests = np.array([True, False, True])
        write_member(path, Member(masks[k], right[k], loss, margin[k], outside, tests, ComputeCost(k, 2, 0.5)), k)
    return SubsetEnsemble(paths, np.zeros(total, np.int64), ComputeCost())
