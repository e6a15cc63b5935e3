"""Losses: label cross-entropy, and its mixture with the KD loss of a teacher.

KD weight a: loss = (1-a) * CE(student, label) + a * T^2 * KL(teacher_T || student_T), KL summed over classes and averaged
over the batch (Hinton et al. 2015, section 2; docs/kd-weight.md). a=0 is labels alone, a=1 the teacher alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, minimum, where
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from datapruning.data.loaders.loader import Batch


class LossTerms(NamedTuple):
    """The loss that is minimised, and the unweighted terms it is made of, for the log.

    All are scalars (means over the batch) or all are per sample, [n]. A term that is no part of the loss is None.
    """

    total: Tensor
    label: Tensor | None = None
    kd: Tensor | None = None
    self_distillation: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> LossTerms:
        """The function of each term."""
        label, kd, self_distillation = (None if term is None else function(term) for term in self[1:])
        return LossTerms(function(self.total), label, kd, self_distillation)

    def weighted_mean(self, weights: Tensor) -> LossTerms:
        """Scalars from per-sample terms: the mean of each term times `weights` float32 [n]."""
        return self.map(lambda term: (weights * term).mean())


def merge_means(first: LossTerms, n: int, second: LossTerms, m: int) -> LossTerms:
    """The means over n + m samples, from those over the first n and over the other m; both have the same terms."""

    def merge(x: Tensor, y: Tensor) -> Tensor:
        return (n * x + m * y) / (n + m)

    pairs = zip(first[1:], second[1:], strict=True)
    label, kd, self_distillation = (None if x is None or y is None else merge(x, y) for x, y in pairs)
    return LossTerms(merge(first.total, second.total), label, kd, self_distillation)


class Loss(Protocol):
    """Turns the logits of a batch into a loss."""

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        """`logits` float32 [n, classes] -> scalars, the means over the batch."""
        ...

    def per_sample(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        """`logits` float32 [n, classes] -> the loss of every sample, [n]."""
        ...


class SoftLabels(Protocol):
    """A teacher's logits for given samples in the view of an epoch; training knows no more about teachers."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [teachers, n, classes]."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """Label cross-entropy alone, with label smoothing 0 to 1."""

    label_smoothing: float = 0.0

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        """The mean cross-entropy."""
        loss = label_cross_entropy(logits, batch, self.label_smoothing)
        return LossTerms(loss, label=loss)

    def per_sample(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        """The cross-entropy of every sample, [n]."""
        losses = label_cross_entropy(logits, batch, self.label_smoothing, per_sample=True)
        return LossTerms(losses, label=losses)


@dataclass(frozen=True)
class DistillationLoss:
    """Label cross-entropy and KD loss, mixed by the KD weight (the formula at the top of this module).

    With `confidence_weighting` a label counts as much as the teacher is confident in it: a sample's own KD weight is
    1 - (1 - a) * p, p being the teacher's probability of its label at T=1 (the mean of several teachers). A label that
    looks wrong thus leaves its sample to the teacher.
    """

    labels: SoftLabels
    weight: float
    temperature: float
    label_smoothing: float = 0.0
    confidence_weighting: bool = field(default=False, kw_only=True)

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        """The mean of the mixture over the batch."""
        if self.confidence_weighting and self.weight < 1:
            return self.per_sample(logits, batch, epoch).map(Tensor.mean)
        kd = kd_loss(logits, self._teacher_logits(logits, batch, epoch), self.temperature)
        if self.weight == 1:
            return LossTerms(kd, kd=kd)
        label = label_cross_entropy(logits, batch, self.label_smoothing)
        return LossTerms(self.weight * kd + (1 - self.weight) * label, label, kd)

    def per_sample(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        """The mixture of every sample, [n]."""
        teacher_logits = self._teacher_logits(logits, batch, epoch)
        if self.weight == 1:
            kd = kd_loss(logits, teacher_logits, self.temperature, per_sample=True)
            return LossTerms(kd, kd=kd)
        weights: Tensor | float = self.weight
        if self.confidence_weighting:
            weights = 1 - (1 - self.weight) * label_confidence(teacher_logits, batch)
        label = label_cross_entropy(logits, batch, self.label_smoothing, per_sample=True)
        kd = kd_loss(logits, teacher_logits, self.temperature, per_sample=True)
        return LossTerms(weights * kd + (1 - weights) * label, label, kd)

    def _teacher_logits(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        if batch.teacher_logits is not None:
            return batch.teacher_logits
        return self.labels[batch.ids, epoch].to(logits.device, non_blocking=True)


def label_cross_entropy(logits: Tensor, batch: Batch, label_smoothing: float, *, per_sample: bool = False) -> Tensor:
    """The mean cross-entropy, or with `per_sample` that of every sample, [n].

    An image mixed from two (CutMix, mixup) has both labels, each weighted by its share of the image.
    """
    if batch.mixed is None:
        reduction = "none" if per_sample else "mean"
        return cross_entropy(logits, batch.labels, label_smoothing=label_smoothing, reduction=reduction)
    losses_a, losses_b = (
        cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
        for labels in (batch.labels, batch.mixed.targets_b)
    )
    losses = batch.mixed.lam * losses_a + (1 - batch.mixed.lam) * losses_b
    return losses if per_sample else losses.mean()


def label_confidence(teacher_logits: Tensor, batch: Batch) -> Tensor:
    """The teachers' mean probability of each label at T=1, [n], from logits [teachers, n, classes].

    Of a mixed image: the overlap of that distribution with the labels'.
    """
    probs = softmax(teacher_logits, dim=2).mean(0)
    label_probs = probs.gather(1, batch.labels[:, None])[:, 0]
    if batch.mixed is None:
        return label_probs
    other_probs = probs.gather(1, batch.mixed.targets_b[:, None])[:, 0]
    overlap = minimum(label_probs, batch.mixed.lam) + minimum(other_probs, 1 - batch.mixed.lam)
    return where(batch.mixed.targets_b == batch.labels, label_probs, overlap)


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float, *, per_sample: bool = False) -> Tensor:
    """T^2 * KL(teacher_T || student_T), summed over classes and averaged over the samples; with `per_sample`, of each, [n].

    The student's logits are [n, classes], the teachers' [teachers, n, classes]: they are averaged as probabilities at T.
    """
    student = log_softmax(student_logits / temperature, dim=1)
    single = len(teacher_logits) == 1
    if single:
        target = log_softmax(teacher_logits[0] / temperature, dim=1)
    else:
        target = softmax(teacher_logits / temperature, dim=2).mean(0)
    if per_sample:
        return temperature**2 * kl_div(student, target, reduction="none", log_target=single).sum(1)
    return temperature**2 * kl_div(student, target, reduction="batchmean", log_target=single)
