"""The losses against independent float64 arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import CrossEntropy, DistillationLoss, kd_loss

Floats = NDArray[np.float64]


def softmax(z: Floats) -> Floats:
    """Return the softmax along the last axis."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def reference(
    student: Floats, teachers: Floats, labels: NDArray[np.int64], weight: float, t: float, *, trust: bool = False
) -> float:
    """(1-a) * CE + a * T^2 * KL(teacher_T || student_T), sample by sample, in numpy."""
    total = 0.0
    for row, label in enumerate(labels):
        p = np.mean([softmax(z[row] / t) for z in teachers], axis=0)
        q = softmax(student[row] / t)
        kl = sum(p[c] * (np.log(p[c]) - np.log(q[c])) for c in range(len(p)))
        ce = -np.log(softmax(student[row])[label])
        believed = np.mean([softmax(z[row])[label] for z in teachers]) if trust else 1.0
        a = 1 - (1 - weight) * believed
        total += (1 - a) * ce + a * t**2 * kl
    return total / len(labels)


class Fixed:
    """Soft labels that are equal for every id."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        return self.logits


def case(seed: int, teachers: int = 1, rows: int = 5, classes: int = 4) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return random logits and labels."""
    rng = np.random.default_rng(seed)
    return (
        3 * rng.normal(size=(rows, classes)),
        3 * rng.normal(size=(teachers, rows, classes)),
        rng.integers(0, classes, rows),
    )


def batch_of(labels: NDArray[np.int64]) -> Batch:
    """Make a batch with labels only."""
    return Batch(torch.empty(0), torch.from_numpy(labels), np.arange(len(labels)))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.5, 20), st.integers(1, 3), st.booleans())
def test_objective_equals_the_formula(seed: int, weight: float, temperature: float, teachers: int, trust: bool) -> None:
    student, teacher, labels = case(seed, teachers)
    objective = DistillationLoss(Fixed(torch.from_numpy(teacher)), weight, temperature, confidence_weighting=trust)
    loss = objective(torch.from_numpy(student), batch_of(labels), 0)
    expected = reference(student, teacher, labels, weight, temperature, trust=trust)
    assert float(loss.total) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_teacher_dominates_for_labels_it_finds_unlikely() -> None:
    student, _, labels = case(5)
    logits = torch.from_numpy(student)
    sure = 50.0 * torch.nn.functional.one_hot(torch.from_numpy(labels), 4).double()
    believing = DistillationLoss(Fixed(sure[None]), 0.3, 4.0, confidence_weighting=True)(logits, batch_of(labels), 0).total
    torch.testing.assert_close(believing, DistillationLoss(Fixed(sure[None]), 0.3, 4.0)(logits, batch_of(labels), 0).total)
    wrong = (labels + 1) % 4
    doubting = DistillationLoss(Fixed(sure[None]), 0.3, 4.0, confidence_weighting=True)(logits, batch_of(wrong), 0).total
    torch.testing.assert_close(doubting, DistillationLoss(Fixed(sure[None]), 1.0, 4.0)(logits, batch_of(wrong), 0).total)


@pytest.mark.parametrize("teachers", [1, 2])
def test_gradient_equals_finite_differences(teachers: int) -> None:
    student, teacher, labels = case(1, teachers)
    logits = torch.from_numpy(student).requires_grad_()
    DistillationLoss(Fixed(torch.from_numpy(teacher)), 0.7, 4.0)(logits, batch_of(labels), 0).total.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    step = 1e-6
    for index in np.ndindex(student.shape):
        up, down = student.copy(), student.copy()
        up[index] += step
        down[index] -= step
        slope = (reference(up, teacher, labels, 0.7, 4.0) - reference(down, teacher, labels, 0.7, 4.0)) / (2 * step)
        assert float(logits.grad[index]) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_weight_zero_is_cross_entropy_and_weight_one_ignores_labels() -> None:
    student, teacher, labels = case(2)
    logits, soft = torch.from_numpy(student), Fixed(torch.from_numpy(teacher))
    cross_entropy = CrossEntropy()(logits, batch_of(labels), 0).total
    torch.testing.assert_close(DistillationLoss(soft, 0.0, 4.0)(logits, batch_of(labels), 0).total, cross_entropy)
    one = DistillationLoss(soft, 1.0, 4.0)
    assert torch.equal(one(logits, batch_of(labels), 0).total, one(logits, batch_of((labels + 1) % 4), 0).total)


def test_a_student_that_equals_its_teacher_has_no_loss() -> None:
    student, _, _ = case(3)
    logits = torch.from_numpy(student)
    assert float(kd_loss(logits, logits[None], 4.0)) == pytest.approx(0, abs=1e-12)


def test_two_equal_teachers_are_one() -> None:
    student, teacher, _ = case(4)
    logits, soft = torch.from_numpy(student), torch.from_numpy(teacher)
    torch.testing.assert_close(kd_loss(logits, torch.cat([soft, soft]), 3.0), kd_loss(logits, soft, 3.0))


def test_certain_teachers_give_no_nan_in_float32() -> None:
    student = torch.tensor([[60.0, -60.0], [-60.0, 60.0]])
    for teachers in (torch.tensor([[[200.0, -200.0], [200.0, -200.0]]]), torch.full((2, 2, 2), 100.0)):
        assert torch.isfinite(kd_loss(student, teachers, 1.0))


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_terms_are_apart_and_unweighted(per_sample: bool) -> None:
    student, teacher, labels = case(3)
    logits, batch = torch.from_numpy(student), batch_of(labels)
    loss = DistillationLoss(Fixed(torch.from_numpy(teacher)), 0.3, 4.0)
    terms = loss.per_sample(logits, batch, 0) if per_sample else loss(logits, batch, 0)
    assert terms.label is not None
    assert terms.kd is not None
    assert terms.self_distillation is None
    torch.testing.assert_close(terms.label, cross_entropy(logits, batch.labels, reduction="none" if per_sample else "mean"))
    torch.testing.assert_close(terms.kd, kd_loss(logits, torch.from_numpy(teacher), 4.0, per_sample=per_sample))
    torch.testing.assert_close(terms.total, 0.3 * terms.kd + 0.7 * terms.label)
    assert CrossEntropy()(logits, batch, 0).kd is None
    assert DistillationLoss(loss.labels, 1.0, 4.0)(logits, batch, 0).label is None
