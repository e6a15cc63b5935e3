"""The losses that EPSD takes its saliency of, each as (the base, what self-distillation adds).

Self-distillation hardly says anything at an initialisation: PS-KD's earlier predictions are not there yet, DLB has no
batch before. Here "before" is the network one inner step earlier, on the same look; that keeps their idea.
"""

from __future__ import annotations

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
    """What the loss looks at once.

    Attributes:
        images: float32 [n, channels, height, width].
        batch: labels and ids of them.
        others: likewise: another picture of each one's class (CS-KD), or another view of the same (DLB); or none.
        teacher: logits [1, n, classes] of the network's own dense twin (TF-KD self); or none.
    """

    images: Tensor
    batch: Batch
    others: Tensor | None = None
    teacher: Tensor | None = None


Term = Callable[[SelfDistillConfig, Loss, Forward, Forward | None, SaliencyBatch], Terms]


def task_loss_only(how: SelfDistillConfig, base: Loss, now: Forward, before: Forward | None, look: SaliencyBatch) -> Terms:
    """No self-distillation: cross-entropy (ProsPr, SNIP), or the student's own objective with a teacher."""
    return base(now(look.images), look.batch, 0).total, None


def cs_kd(how: SelfDistillConfig, base: Loss, now: Forward, before: Forward | None, look: SaliencyBatch) -> Terms:
    """Class-wise self-distillation (Yun et al. 2020): towards the prediction on another picture of the class."""
    assert look.others is not None
    logits = now(look.images)
    with torch.no_grad():
        target = now(look.others).detach()
    return base(logits, look.batch, 0).total, how.cs_kd_weight * kd_loss(logits, target[None], how.cs_kd_temperature)


def ps_kd(how: SelfDistillConfig, base: Loss, now: Forward, before: Forward | None, look: SaliencyBatch) -> Terms:
    """Progressive self-distillation (Kim et al. 2021): the label softened by the prediction one step before.

    Its weight is the final one from the start; the training's own ramp begins near 0.
    """
    logits = now(look.images)
    of_labels = base(logits, look.batch, 0).total
    if before is None:
        return of_labels, None
    with torch.no_grad():
        earlier = before(look.images).softmax(1)
    return of_labels, how.ps_kd_weight * (cross_entropy(logits, earlier) - of_labels)


def dlb(how: SelfDistillConfig, base: Loss, now: Forward, before: Forward | None, look: SaliencyBatch) -> Terms:
    """Self-distillation from the last mini-batch (Shen et al. 2022): towards one step before on another view."""
    assert look.others is not None
    n = len(look.images)
    logits = now(torch.cat([look.images, look.others]))
    of_labels = (base(logits[:n], look.batch, 0).total + base(logits[n:], look.batch, 0).total) / 2
    if before is None:
        return of_labels, None
    with torch.no_grad():
        earlier = before(look.images)
    return of_labels, how.dlb_weight * kd_loss(logits[n:], earlier[None], how.dlb_temperature)


def tf_kd(how: SelfDistillConfig, base: Loss, now: Forward, before: Forward | None, look: SaliencyBatch) -> Terms:
    """Teacher-free distillation (Yuan et al. 2020): towards a virtual teacher that is right with a fixed probability."""
    logits = now(look.images)
    towards = virtual_teacher_loss(logits, look.batch.labels, how.tf_kd_temperature, how.tf_kd_correct)
    of_labels = base(logits, look.batch, 0).total
    return of_labels, how.tf_kd_weight * (towards - of_labels)


def tf_kd_self(how: SelfDistillConfig, base: Loss, now: Forward, before: Forward | None, look: SaliencyBatch) -> Terms:
    """Teacher-free distillation from the same network, dense and trained before."""
    assert look.teacher is not None
    logits = now(look.images)
    of_labels = base(logits, look.batch, 0).total
    towards = how.tf_kd_self_scale * kd_loss(logits, look.teacher, how.tf_kd_self_temperature)
    return of_labels, how.tf_kd_self_weight * (towards - of_labels)


TERMS: dict[str, Term] = {
    "none": task_loss_only, "cs-kd": cs_kd, "ps-kd": ps_kd, "dlb": dlb, "tf-kd": tf_kd, "tf-kd-self": tf_kd_self,
}  # fmt: skip


def make_saliency_batch(images: Tensor, labels: Tensor, others: Tensor | None = None) -> SaliencyBatch:
    """A look at pictures that are there already, for trials in a notebook.

    Args:
        images: float32 [n, channels, height, width].
        labels: int64 [n].
        others: see `SaliencyBatch`.
    """
    ids = np.arange(len(labels), dtype=np.int64)
    return SaliencyBatch(images, Batch(images, labels, ids), others)
