"""Self-distillation: each method's formula against an independent one in float64, and its auxiliary batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from datapruning.config.self_distillation import KEYS, SelfDistillConfig
from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.training.losses import CrossEntropy, DistillationLoss, Loss, LossTerms
from datapruning.training.self_distillation.base import AuxiliaryBatch, Forward, SelfDistillation
from datapruning.training.self_distillation.cs_kd import CSKD, ClassPairs
from datapruning.training.self_distillation.dlb import DLB
from datapruning.training.self_distillation.factory import describe_self_distillation
from datapruning.training.self_distillation.ps_kd import PSKD
from datapruning.training.self_distillation.tf_kd import TFKD, TFKDSelf, virtual_teacher
from datapruning.utils.cost import FORWARD_PASS_COST

CLASSES = 5
Array = NDArray[np.float64]


def log_softmax(z: Array) -> Array:
    z = z - z.max(1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(1, keepdims=True)))


def kl(teacher: Array, student: Array, t: float) -> float:
    """Return KL(teacher_T || student_T), summed over classes, averaged over the batch."""
    p, q = log_softmax(teacher / t), log_softmax(student / t)
    return float((np.exp(p) * (p - q)).sum(1).mean())


def ce(target: Array, student: Array) -> Array:
    """Return the cross-entropy against probabilities, per sample."""
    return np.asarray(-(target * log_softmax(student)).sum(1))


class Table:
    """Soft labels that encode their sample and epoch."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        ids, epoch = key
        return torch.from_numpy(opinions(ids, epoch))[None]


def opinions(ids: NDArray[np.int64], epoch: int) -> Array:
    return np.asarray(np.sin(ids[:, None] * (1.0 + np.arange(CLASSES)) + epoch) * 3)


LABELS = np.arange(40) % CLASSES


def batch_of(*ids: int) -> Batch:
    chosen = np.array(ids, np.int64)
    return Batch(torch.empty(0), torch.from_numpy(LABELS[chosen]), chosen, device_ids=torch.from_numpy(chosen))


def random_images(n: int, seed: int) -> Tensor:
    return torch.randn(n, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


class Network:
    """A linear network with a simple gradient, which counts its forward passes."""

    def __init__(self) -> None:
        self.weight = torch.eye(CLASSES, dtype=torch.float64).mul(1.5).requires_grad_()
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        return images @ self.weight


def take_step(
    method: SelfDistillation, network: Forward, loss: Loss, batch: Batch, images: Tensor, partner: Any, epoch: int
) -> tuple[Tensor, LossTerms]:
    """A step with what the trainer does before and after it."""
    method.begin_epoch(epoch, torch.device("cpu"))
    if method.self_teacher is not None:
        batch = batch._replace(self_teacher_logits=method.self_teacher[batch.ids, epoch])
    logits, terms = method.step(network, loss, batch, images, method.before_step(partner), epoch)
    method.after_step(batch, logits.detach(), epoch)
    return logits, terms


def logits_of(images: Tensor) -> Array:
    return np.asarray(1.5 * images.numpy())


def base_of(objective: str, z: Array, batch: Batch, epoch: int) -> float:
    """Return the base loss in float64: cross-entropy, or mixed with a teacher by 0.3 at T=2."""
    labels = float(ce(np.eye(CLASSES)[batch.labels.numpy()], z).mean())
    return labels if objective == "ce" else 0.7 * labels + 0.3 * 4 * kl(opinions(batch.ids, epoch), z, 2.0)


OBJECTIVES: dict[str, Callable[[], Loss]] = {"ce": CrossEntropy, "kd": lambda: DistillationLoss(Table(), 0.3, 2.0)}
each_objective = pytest.mark.parametrize("base", OBJECTIVES)


def gradient(loss: Tensor, network: Network) -> Tensor:
    (grad,) = torch.autograd.grad(loss, network.weight)
    return grad


@each_objective
def test_cs_kd(base: str) -> None:
    network, batch, images = Network(), batch_of(0, 1, 2), random_images(3, 1)
    partner = AuxiliaryBatch(batch_of(5, 6, 7), random_images(3, 2), 4)
    method = CSKD(ClassPairs(np.arange(40), LABELS), 0.6, 4.0, seed=0)
    logits, loss = take_step(method, network, OBJECTIVES[base](), batch, images, partner, 4)
    z, other = logits_of(images), logits_of(partner.images)
    assert loss.total.item() == pytest.approx(base_of(base, z, batch, 4) + 0.6 * 16 * kl(other, z, 4.0), rel=1e-12)
    np.testing.assert_allclose(logits.detach().numpy(), z)
    assert network.sizes == [3, 3], "the batch first, its partners on their own after it"
    # the partner is a constant: the gradient is that of the same loss against its numbers
    direct = Network()
    fixed = torch.from_numpy(other)
    term = torch.nn.functional.kl_div(
        (images @ direct.weight / 4).log_softmax(1), (fixed / 4).softmax(1), reduction="batchmean"
    )
    expected = OBJECTIVES[base]()(images @ direct.weight, batch, 4).total + 0.6 * 16 * term
    torch.testing.assert_close(gradient(loss.total, network), gradient(expected, direct))


@each_objective
def test_ps_kd_reads_the_previous_predictions_by_id(base: str) -> None:
    ids = np.array([30, 3, 17, 8, 21])
    network, method = Network(), PSKD(ids, CLASSES, weight=0.8, epochs=4)
    objective = OBJECTIVES[base]()
    last_probs: dict[int, Array] = {}
    rng = np.random.default_rng(0)
    for epoch in range(3):
        for part in np.array_split(rng.permutation(ids), 2):
            batch, images = batch_of(*part), random_images(len(part), int(epoch * 100 + part[0]))
            _, loss = take_step(method, network, objective, batch, images, None, epoch)
            z = logits_of(images)
            expected = base_of(base, z, batch, epoch)
            if epoch:
                a = 0.8 * (epoch + 1) / 4
                expected = (1 - a) * expected + a * ce(np.stack([last_probs[i] for i in part]), z).mean()
            assert loss.total.item() == pytest.approx(expected, rel=1e-6)  # the table is float32
            last_probs |= dict(zip(part.tolist(), np.exp(log_softmax(z)), strict=True))
    tensors = method.tensors()
    assert tensors["ps-kd.ids"].tolist() == sorted(ids.tolist())
    assert tensors["ps-kd.ids"].dtype == torch.int64
    assert tensors["ps-kd.table"].dtype == torch.float32
    np.testing.assert_allclose(tensors["ps-kd.table"].numpy(), [last_probs[i] for i in sorted(ids.tolist())], rtol=1e-6)


@each_objective
def test_ps_kd_uses_the_base_loss_for_samples_that_join_later(base: str) -> None:
    few, objective = PSKD(np.array([4, 9]), CLASSES, 0.8, 4), OBJECTIVES[base]()
    take_step(few, Network(), objective, batch_of(4, 9), random_images(2, 1), None, 1)
    more = PSKD(np.array([9, 4, 20, 2]), CLASSES, 0.8, 4)
    more.restore(few.tensors())
    images = random_images(2, 2)
    _, loss = take_step(more, Network(), objective, batch_of(9, 20), images, None, 2)
    z, before = logits_of(images), np.exp(log_softmax(logits_of(random_images(2, 1)[1:])))
    nine = 0.4 * base_of(base, z[:1], batch_of(9), 2) + 0.6 * ce(before, z[:1])[0]
    assert loss.total.item() == pytest.approx((nine + base_of(base, z[1:], batch_of(20), 2)) / 2, rel=1e-6)


@each_objective
def test_dlb(base: str) -> None:
    network, method, objective = Network(), DLB(0.5, 3.0, views=4), OBJECTIVES[base]()
    first, second = batch_of(0, 1, 2), batch_of(3, 4)
    one, two, repeated = random_images(3, 1), random_images(2, 2), random_images(3, 3)
    assert method.tensors() == {}
    requests = method.auxiliary_batches([first.ids, second.ids], 3)
    assert requests[0] is None
    assert requests[1] is not None
    assert (requests[1][0].tolist(), requests[1][1]) == ([0, 1, 2], 1), "half of 4 views away from epoch 3's"
    _, first_loss = take_step(method, network, objective, first, one, None, 3)
    assert first_loss.total.item() == pytest.approx(base_of(base, logits_of(one), first, 3), rel=1e-12)
    logits, loss = take_step(method, network, objective, second, two, AuxiliaryBatch(first, repeated, 1), 3)
    z, current, previous = logits_of(two), logits_of(repeated), logits_of(one)
    both = (2 * base_of(base, z, second, 3) + 3 * base_of(base, current, first, 1)) / 5
    assert loss.total.item() == pytest.approx(both + 0.5 * 9 * kl(previous, current, 3.0), rel=1e-12)
    np.testing.assert_allclose(logits.detach().numpy(), z)
    assert network.sizes == [3, 5], "both halves at once"
    carried = method.auxiliary_batches([first.ids], 4)[0]
    assert carried is not None
    assert (carried[0].tolist(), carried[1]) == ([3, 4], 1), "the last batch was seen in epoch 3"
    later = DLB(0.5, 3.0, views=4)
    later.restore(method.tensors())
    _, goes_on = take_step(later, network, objective, first, one, AuxiliaryBatch(second, two, 1), 4)
    _, second_loss = take_step(method, network, objective, first, one, AuxiliaryBatch(second, two, 1), 4)
    assert goes_on.total.item() == second_loss.total.item()


@given(st.integers(2, 40), st.integers(0, 100), st.integers(1, 5))
def test_dlb_shows_a_batch_in_another_of_the_views_that_the_run_sees(views: int, epoch: int, count: int) -> None:
    method = DLB(0.5, 3.0, views)
    method.restore({"dlb.ids": torch.arange(2), "dlb.logits": torch.zeros(2, 3), "dlb.epoch": torch.tensor(epoch)})
    requests = method.auxiliary_batches([np.arange(k, k + 2) for k in range(count)], epoch + 1)
    assert len(requests) == count
    for index, one in enumerate(requests):
        assert one is not None
        assert 0 <= one[1] < views
        assert one[1] != (epoch + (index > 0)) % views


@each_objective
def test_tf_kd(base: str) -> None:
    network, batch, images = Network(), batch_of(0, 1, 7), random_images(3, 1)
    logits, loss = take_step(TFKD(0.1, 20.0, 0.99), network, OBJECTIVES[base](), batch, images, None, 2)
    u = np.where(np.eye(CLASSES)[batch.labels.numpy()] == 1, 0.99, 0.01 / (CLASSES - 1))
    target, z = np.exp(log_softmax(u / 20)), logits_of(images)
    term = float((target * (np.log(target) - log_softmax(z))).sum(1).mean())
    assert loss.total.item() == pytest.approx(0.9 * base_of(base, z, batch, 2) + 0.1 * term, rel=1e-6)
    np.testing.assert_allclose(logits.detach().numpy(), z)


def test_tf_kd_with_the_authors_factors() -> None:
    """The authors' loss is a mean over batch and classes, times 100: on 100 classes the same as here."""
    labels = torch.arange(6)
    logits = torch.randn(6, 100, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.empty(0), labels, np.arange(6))
    _, loss = take_step(TFKD(0.1, 20.0, 0.99), lambda images: images, CrossEntropy(), batch, logits, None, 0)
    u = torch.full((6, 100), 0.01 / 99)
    u[torch.arange(6), labels] = 0.99
    entry = torch.nn.functional.kl_div(logits.log_softmax(1), (u / 20).softmax(1), reduction="none")
    theirs = entry.mean() * 100
    torch.testing.assert_close(loss.total, 0.9 * torch.nn.functional.cross_entropy(logits, labels) + 0.1 * theirs)


@each_objective
def test_tf_kd_self(base: str) -> None:
    network, batch, images = Network(), batch_of(0, 1, 7), random_images(3, 1)
    _, loss = take_step(TFKDSelf(Table(), 0.95, 6.0, 0.5), network, OBJECTIVES[base](), batch, images, None, 2)
    z = logits_of(images)
    expected = 0.05 * base_of(base, z, batch, 2) + 0.95 * 0.5 * 36 * kl(opinions(batch.ids, 2), z, 6.0)
    assert loss.total.item() == pytest.approx(expected, rel=1e-12)


def test_the_virtual_teacher_is_a_distribution() -> None:
    probs = virtual_teacher(torch.tensor([2, 0]), 4, 0.7)
    torch.testing.assert_close(probs, torch.tensor([[0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1]]))


# Partners


@given(st.data())
def test_a_partner_is_another_kept_sample_of_the_class(data: Any) -> None:
    labels = np.array(data.draw(st.lists(st.integers(0, 4), min_size=2, max_size=60)), np.int64)
    kept = np.array(data.draw(st.sets(st.integers(0, len(labels) - 1), min_size=1).map(sorted)), np.int64)
    counts = np.bincount(labels[kept], minlength=5)
    if (counts == 1).any():
        with pytest.raises(InvalidValue, match="a single one"):
            ClassPairs(kept, labels)
        kept = kept[counts[labels[kept]] > 1]
    seed, epoch = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(0, 999))
    partners = ClassPairs(kept[::-1].copy(), labels).draw(kept, seed, epoch)
    assert partners.dtype == np.int64
    assert np.isin(partners, kept).all()
    assert (partners != kept).all()
    assert (labels[partners] == labels[kept]).all()
    order = np.array(data.draw(st.permutations(range(len(kept)))), np.int64)
    assert np.array_equal(ClassPairs(kept, labels).draw(kept[order], seed, epoch), partners[order])
    assert np.array_equal(ClassPairs(kept, labels).draw(kept[:1], seed, epoch), partners[:1])


def test_partners_are_uniform_and_depend_on_epoch_and_seed() -> None:
    labels, kept = np.zeros(12, np.int64), np.array([0, 2, 3, 7, 9, 11])
    pairs = ClassPairs(kept, labels)
    draws = np.array([pairs.draw(kept, 0, epoch) for epoch in range(3000)])
    for index, sample_id in enumerate(kept):
        partners, counts = np.unique(draws[:, index], return_counts=True)
        assert partners.tolist() == [i for i in kept if i != sample_id]
        assert (abs(counts - 600) < 5 * np.sqrt(3000 * 0.2 * 0.8)).all()
    assert (np.array([pairs.draw(kept, 1, epoch) for epoch in range(3000)]) != draws).any(0).all()


def test_classes_with_a_single_kept_sample_are_named() -> None:
    labels = np.array([0, 0, 1, 2, 2, 3])
    with pytest.raises(InvalidValue, match=r"2 of the classes have a single one \(class 1, 3\)"):
        ClassPairs(np.arange(6), labels)
    with pytest.raises(InvalidValue, match=r"1 of the classes has a single one \(class 2\)"):
        ClassPairs(np.array([0, 1, 4]), labels)
    with_singletons = ClassPairs(np.array([0, 1, 4]), labels, allow_singletons=True)
    assert with_singletons.draw(np.array([4, 1]), 0, 0).tolist() == [4, 0]


# Settings


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("cs_kd_weight", -0.1), ("cs_kd_temperature", 0.0), ("ps_kd_weight", 1.1), ("dlb_weight", -1.0),
        ("dlb_temperature", -3.0), ("tf_kd_weight", 2.0), ("tf_kd_temperature", 0.0), ("tf_kd_correct", 1.5),
        ("tf_kd_self_weight", -0.5), ("tf_kd_self_temperature", 0.0), ("tf_kd_self_scale", float("nan")),
    ],
)  # fmt: skip
def test_invalid_settings_are_named(setting: str, value: float) -> None:
    with pytest.raises(InvalidValue, match=f"{setting} lies in"):
        SelfDistillConfig(**{setting: value})  # type: ignore[arg-type]


def test_an_unknown_method_gets_the_nearest_name() -> None:
    with pytest.raises(InvalidValue, match="did you mean 'cs-kd'"):
        SelfDistillConfig(method="cskd")


def test_what_a_method_reads_and_costs() -> None:
    compute = {name: SelfDistillConfig(method=name).compute for name in KEYS}
    assert compute == {"none": 1, "cs-kd": 1 + FORWARD_PASS_COST, "ps-kd": 1, "dlb": 2, "tf-kd": 1, "tf-kd-self": 1}
    assert SelfDistillConfig(method="dlb", ps_kd_weight=0.1).to_dict() == {
        "method": "dlb",
        "dlb_weight": 0.5,
        "dlb_temperature": 3.0,
    }
    assert "1.33 times the compute of plain training" in describe_self_distillation(SelfDistillConfig(method="cs-kd"))
