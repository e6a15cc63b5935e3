"""TF-KD: a virtual teacher, or the same network trained before (Yuan et al., CVPR 2020)."""

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax

from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import Loss, LossTerms, SoftLabels, kd_loss
from datapruning.training.self_distillation.base import AuxiliaryBatch, Forward, SelfDistillation


class TFKD(SelfDistillation):
    """(1 - weight) * task loss + weight * KL(softmax(u / T) || softmax(z)): the regularisation of their section 5.

    As in the authors' code, u are the virtual teacher's probabilities (`correct` for the label, the rest uniform), which go
    through a softmax again: at T = 20 the target is almost uniform. The student's side has no temperature. Their factor of
    100, with a mean over batch and 100 classes, is 1 with our sum over classes.
    """

    def __init__(self, weight: float, temperature: float, correct: float) -> None:
        self.weight, self.temperature, self.correct = weight, temperature, correct

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """See `SelfDistillation.step`."""
        logits = forward(images)
        term = virtual_teacher_loss(logits, batch.labels, self.temperature, self.correct)
        task = loss(logits, batch, epoch)
        total = (1 - self.weight) * task.total + self.weight * term
        return logits, task._replace(total=total, self_distillation=term)


def virtual_teacher_loss(logits: Tensor, labels: Tensor, temperature: float, correct: float) -> Tensor:
    """KL(softmax(u / T) || softmax(z)), averaged over the batch: a scalar; see `TFKD`."""
    virtual = virtual_teacher(labels, logits.shape[1], correct).to(logits.dtype)
    return kl_div(log_softmax(logits, dim=1), softmax(virtual / temperature, dim=1), reduction="batchmean")


def virtual_teacher(labels: Tensor, classes: int, correct: float) -> Tensor:
    """Probabilities float32 [n, classes]: `correct` for the label, the rest uniform over the other classes."""
    rest = (1 - correct) / max(classes - 1, 1)
    probs = torch.full((len(labels), classes), rest, device=labels.device)
    return probs.scatter_(1, labels[:, None], correct)


class TFKDSelf(SelfDistillation):
    """(1 - weight) * task loss + weight * scale * T^2 * KL(teacher_T || student_T): their section 4.

    The self teacher is the same network, trained before on the same samples without distillation.
    """

    def __init__(self, labels: SoftLabels, weight: float, temperature: float, scale: float) -> None:
        self.self_teacher, self.weight, self.temperature, self.scale = labels, weight, temperature, scale

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """See `SelfDistillation.step`."""
        assert batch.self_teacher_logits is not None
        logits = forward(images)
        term = self.scale * kd_loss(logits, batch.self_teacher_logits, self.temperature)
        task = loss(logits, batch, epoch)
        total = (1 - self.weight) * task.total + self.weight * term
        return logits, task._replace(total=total, self_distillation=term)
