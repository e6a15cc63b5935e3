"""The losses that EPSD takes its saliency of, each as (task loss, term of self-distillation).

At an initialisation self-distillation has little to learn from: PS-KD has no earlier predictions, DLB no batch before.
Here the earlier network is the one an inner step before, on the same batch, which keeps their idea.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import Loss, kd_loss
from datapruning.training.self_distillation.base import Forward
from datapruning.training.self_distillation.tf_kd import virtual_teacher_loss

Terms = tuple[Tensor, Tensor | None]


class SaliencyBatch(NamedTuple):
    """A batch that a saliency is taken on.

    Attributes:
        images: float32 [n, channels, height, width].
        batch: their labels and ids.
        paired_images: likewise: another image of each one's class (CS-KD), or another view of the same (DLB); or None.
        self_teacher_logits: [1, n, classes] of the dense self teacher (TF-KD self); or None.
    """

    images: Tensor
    batch: Batch
    paired_images: Tensor | None = None
    self_teacher_logits: Tensor | None = None


Term = Callable[[SelfDistillConfig, Loss, Forward, Forward | None, SaliencyBatch], Terms]


def task_loss_only(
    config: SelfDistillConfig, task_loss: Loss, forward: Forward, previous: Forward | None, inputs: SaliencyBatch
) -> Terms:
    """No self-distillation: cross-entropy (ProsPr, SNIP), or the student's loss with a teacher."""
    return task_loss(forward(inputs.images), inputs.batch, 0).total, None


def cs_kd(
    config: SelfDistillConfig, task_loss: Loss, forward: Forward, previous: Forward | None, inputs: SaliencyBatch
) -> Terms:
    """Class-wise self-distillation (Yun et al. 2020): towards the prediction on another image of the class."""
    assert inputs.paired_images is not None
    logits = forward(inputs.images)
    with torch.no_grad():
        target = forward(inputs.paired_images).detach()
    task = task_loss(logits, inputs.batch, 0).total
    return task, config.cs_kd_weight * kd_loss(logits, target[None], config.cs_kd_temperature)


def ps_kd(
    config: SelfDistillConfig, task_loss: Loss, forward: Forward, previous: Forward | None, inputs: SaliencyBatch
) -> Terms:
    """Progressive self-distillation (Kim et al. 2021): the label softened by the prediction one step before.

    Its weight is the final one from the start; the ramp of the training begins near 0.
    """
    logits = forward(inputs.images)
    task = task_loss(logits, inputs.batch, 0).total
    if previous is None:
        return task, None
    with torch.no_grad():
        target = previous(inputs.images).softmax(1)
    return task, config.ps_kd_weight * (cross_entropy(logits, target) - task)


def dlb(
    config: SelfDistillConfig, task_loss: Loss, forward: Forward, previous: Forward | None, inputs: SaliencyBatch
) -> Terms:
    """Self-distillation from the last mini-batch (Shen et al. 2022): towards one step before on another view."""
    assert inputs.paired_images is not None
    n = len(inputs.images)
    logits = forward(torch.cat([inputs.images, inputs.paired_images]))
    task = (task_loss(logits[:n], inputs.batch, 0).total + task_loss(logits[n:], inputs.batch, 0).total) / 2
    if previous is None:
        return task, None
    with torch.no_grad():
        target = previous(inputs.images)
    return task, config.dlb_weight * kd_loss(logits[n:], target[None], config.dlb_temperature)


def tf_kd(
    config: SelfDistillConfig, task_loss: Loss, forward: Forward, previous: Forward | None, inputs: SaliencyBatch
) -> Terms:
    """Teacher-free distillation (Yuan et al. 2020): towards a virtual teacher that is right with a fixed probability."""
    logits = forward(inputs.images)
    term = virtual_teacher_loss(logits, inputs.batch.labels, config.tf_kd_temperature, config.tf_kd_correct)
    task = task_loss(logits, inputs.batch, 0).total
    return task, config.tf_kd_weight * (term - task)


def tf_kd_self(
    config: SelfDistillConfig, task_loss: Loss, forward: Forward, previous: Forward | None, inputs: SaliencyBatch
) -> Terms:
    """Teacher-free distillation from the same network, dense and trained before."""
    assert inputs.self_teacher_logits is not None
    logits = forward(inputs.images)
    task = task_loss(logits, inputs.batch, 0).total
    term = config.tf_kd_self_scale * kd_loss(logits, inputs.self_teacher_logits, config.tf_kd_self_temperature)
    return task, config.tf_kd_self_weight * (term - task)


TERMS: dict[str, Term] = {
    "none": task_loss_only, "cs-kd": cs_kd, "ps-kd": ps_kd, "dlb": dlb, "tf-kd": tf_kd, "tf-kd-self": tf_kd_self,
}  # fmt: skip


def make_saliency_batch(images: Tensor, labels: Tensor, paired_images: Tensor | None = None) -> SaliencyBatch:
    """A batch of images that are in memory, for experiments in a notebook.

    Args:
        images: float32 [n, channels, height, width].
        labels: int64 [n].
        paired_images: see `SaliencyBatch`.
    """
    ids = np.arange(len(labels), dtype=np.int64)
    return SaliencyBatch(images, Batch(images, labels, ids), paired_images)
