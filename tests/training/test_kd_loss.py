"""`dp.KDLoss` against the loss of our own training, and its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import datapruning as dp
from datapruning.errors import InvalidValue
from datapruning.training.losses import DistillationLoss
from tests.training.test_losses import Fixed, batch_of, case


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 1), st.floats(0.5, 50), st.integers(1, 3), st.floats(0, 1))
def test_it_is_the_loss_of_our_own_training(
    seed: int, weight: float, temperature: float, teachers: int, smoothing: float
) -> None:
    student, teacher, labels = (torch.from_numpy(array) for array in case(seed, teachers))
    own = DistillationLoss(Fixed(teacher), weight, temperature, smoothing)(student, batch_of(labels.numpy()), 0)
    loss = dp.KDLoss(weight, temperature, smoothing)(student, labels, teacher)
    assert torch.allclose(loss.total, own.total)
    assert torch.allclose(loss.kd, own.kd)
    if teachers == 1:
        assert torch.equal(dp.KDLoss(weight, temperature, smoothing)(student, labels, teacher[0]).total, loss.total)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_the_gradient_is_that_of_finite_differences(weight: float) -> None:
    student, teacher, labels = (torch.from_numpy(array) for array in case(3))
    loss = dp.KDLoss(weight, 3.0)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, teacher).total, student.requires_grad_())


def test_the_ends_of_the_weight_are_one_part_alone() -> None:
    student, teacher, labels = (torch.from_numpy(array) for array in case(4))
    labels_alone, teacher_alone = dp.KDLoss(0)(student, labels), dp.KDLoss(1)(student, labels, teacher)
    assert labels_alone.kd is None
    assert torch.equal(labels_alone.total, labels_alone.label)
    assert torch.equal(teacher_alone.total, teacher_alone.kd)


def test_nothing_flows_back_to_the_teacher() -> None:
    student, teacher, labels = (torch.from_numpy(array) for array in case(5))
    teacher.requires_grad_()
    dp.KDLoss(0.5)(student.requires_grad_(), labels, teacher).total.backward()
    assert teacher.grad is None


@pytest.mark.parametrize(
    "settings",
    [{"weight": 1.5}, {"weight": float("nan")}, {"weight": 0.5, "temperature": 0}, {"weight": 0.5, "label_smoothing": 2}],
)
def test_other_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidValue):
        dp.KDLoss(**settings)


def test_logits_that_do_not_fit_are_refused() -> None:
    student, teacher, labels = (torch.from_numpy(array) for array in case(6))
    for other in (None, teacher[0, :2], teacher[0, :, :2], teacher[None]):
        with pytest.raises(InvalidValue, match=r"teacher logits of this shape are needed"):
            dp.KDLoss(0.5)(student, labels, other)


def test_labels_and_teacher_logits_may_be_arrays_or_lists() -> None:
    student, teacher, labels = case(6)
    logits, loss = torch.from_numpy(student), dp.KDLoss(0.5)
    expected = loss(logits, torch.from_numpy(labels), torch.from_numpy(teacher)).total
    assert torch.equal(loss(logits, labels, teacher).total, expected)
    torch.testing.assert_close(loss(logits, labels.tolist(), teacher.tolist()).total, expected)
    with pytest.raises(InvalidValue, match="the student's logits are a tensor, whose gradient is needed; got ndarray"):
        loss(student, labels, teacher)
    with pytest.raises(InvalidValue, match="teacher_logits: a tensor or an array of numbers is needed, got list"):
        loss(logits, labels, [[1.0], [1.0, 2.0]])
