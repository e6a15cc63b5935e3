"""Objectives: what a batch's logits are trained towards.

KD weight a: loss = (1-a) * CE(student, label) + a * T^2 * KL(teacher_T || student_T), KL summed over classes and averaged
over the batch (docs/kd-weight.md). a=0 is labels alone, a=1 the teacher alone.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, minimum, where
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from datapruning.data.loaders.loader import Batch


class Objective(Protocol):
    """Turns a batch into a loss."""

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """`logits` float32 [n, classes] -> scalar loss, the mean over the batch."""
        ...

    def each(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """The same -> the loss of every sample, [n]."""
        ...


class SoftLabels(Protocol):
    """A teacher's opinion of given samples in the view of an epoch; training knows no more about teachers."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        """`labels[ids, epoch]`: logits float32 [teachers, n, classes]."""
        ...


class CrossEntropy:
    """Labels alone."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """Mean cross-entropy."""
        return label_loss(logits, batch, self.label_smoothing)

    def each(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """Cross-entropy of every sample, [n]."""
        return label_loss(logits, batch, self.label_smoothing, each=True)


class Distillation:
    """Labels and teacher, mixed by the KD weight.

    Args:
        labels: the teacher's opinions.
        weight: a, 0 (labels alone) to 1 (teacher alone).
        temperature: T.
        label_smoothing: of the cross-entropy.
        trust: a label counts as much as the teacher believes it: a sample's own weight is 1 - (1 - a) * p, p the
            teacher's probability of its label at T=1 (the mean of several teachers). So a label that looks wrong leaves
            its sample to the teacher. False: every sample has the weight a.
    """

    def __init__(
        self, labels: SoftLabels, weight: float, temperature: float, label_smoothing: float = 0.0, *, trust: bool = False
    ) -> None:
        self.labels = labels
        self.weight = weight
        self.temperature = temperature
        self.label_smoothing = label_smoothing
        self.trust = trust

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """The objective above."""
        if self.trust and self.weight < 1:
            return self.each(logits, batch, epoch).mean()
        loss = self.weight * distillation(logits, self._opinion(logits, batch, epoch), self.temperature)
        if self.weight == 1:
            return loss
        return loss + (1 - self.weight) * label_loss(logits, batch, self.label_smoothing)

    def each(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        """The objective above of every sample, [n]."""
        teacher = self._opinion(logits, batch, epoch)
        if self.weight == 1:
            return distillation(logits, teacher, self.temperature, each=True)
        weights = 1 - (1 - self.weight) * belief(teacher, batch) if self.trust else self.weight
        from_labels = label_loss(logits, batch, self.label_smoothing, each=True)
        from_teacher = distillation(logits, teacher, self.temperature, each=True)
        return weights * from_teacher + (1 - weights) * from_labels

    def _opinion(self, logits: Tensor, batch: Batch, epoch: int) -> Tensor:
        return self.labels[batch.ids, epoch].to(logits.device, non_blocking=True)


def label_loss(logits: Tensor, batch: Batch, label_smoothing: float, *, each: bool = False) -> Tensor:
    """Mean cross-entropy, or with `each` that of every sample, [n].

    A mixed picture has both labels, each by its share of the picture.
    """
    if batch.mixed is None:
        reduction = "none" if each else "mean"
        return cross_entropy(logits, batch.labels, label_smoothing=label_smoothing, reduction=reduction)
    own, others = (
        cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
        for labels in (batch.labels, batch.mixed.others)
    )
    losses = batch.mixed.share * own + (1 - batch.mixed.share) * others
    return losses if each else losses.mean()


def belief(teachers: Tensor, batch: Batch) -> Tensor:
    """How far the teachers [teachers, n, classes] believe the labels, [n]: their mean probability of the label at T=1.

    Of a mixed picture: the overlap of that distribution with the labels'.
    """
    probability = softmax(teachers, dim=2).mean(0)
    own = probability.gather(1, batch.labels[:, None])[:, 0]
    if batch.mixed is None:
        return own
    others = probability.gather(1, batch.mixed.others[:, None])[:, 0]
    overlap = minimum(own, batch.mixed.share) + minimum(others, 1 - batch.mixed.share)
    return where(batch.mixed.others == batch.labels, own, overlap)


def distillation(student: Tensor, teachers: Tensor, temperature: float, *, each: bool = False) -> Tensor:
    """T^2 * KL(teacher_T || student_T).

    Args:
        student: logits [n, classes].
        teachers: logits [teachers, n, classes]; several teachers are averaged as probabilities at T.
        temperature: T.
        each: one number a sample, instead of their mean.

    Returns:
        Summed over classes and averaged over the n samples, a scalar; with `each`, [n].
    """
    of_student = log_softmax(student / temperature, dim=1)
    known = len(teachers) == 1
    target = log_softmax(teachers[0] / temperature, dim=1) if known else softmax(teachers / temperature, dim=2).mean(0)
    if each:
        return temperature**2 * kl_div(of_student, target, reduction="none", log_target=known).sum(1)
    return temperature**2 * kl_div(of_student, target, reduction="batchmean", log_target=known)
