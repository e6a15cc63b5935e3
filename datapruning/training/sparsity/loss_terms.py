"""The losses that EPSD takes its saliency of, each as (task loss, term of self-distillation).

At an initialisation self-distillation has little to learn from: PS-KD has no earlier predictions, DLB no batch before.
Here the earlier network is the one an inner step before, on the same batch, which keeps their idea.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import CrossEntropy, Loss, kd_loss
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


@dataclass(frozen=True)
class SaliencyLoss:
    """The loss whose saliency is taken: of the labels alone (ProsPr, SNIP), or with self-distillation (EPSD).

    `task_loss`: cross-entropy, or the student's loss with a teacher.
    """

    config: SelfDistillConfig = field(default_factory=SelfDistillConfig)
    task_loss: Loss = field(default_factory=CrossEntropy)

    def __call__(self, forward: Forward, previous: Forward | None, inputs: SaliencyBatch) -> Terms:
        """Both terms of the loss, scalars, so that they can be weighted against each other.

        PS-KD has its final weight from the start, as the ramp of the training begins near 0. `previous` is the network one
        inner step before, which gets no gradient; None in the first step.
        """
        config = self.config
        if config.method == "dlb":
            return self._dlb(forward, previous, inputs)
        logits = forward(inputs.images)
        if config.method == "tf-kd":
            term = virtual_teacher_loss(logits, inputs.batch.labels, config.tf_kd_temperature, config.tf_kd_correct)
            task = self._task(logits, inputs)
            return task, config.tf_kd_weight * (term - task)
        if config.method == "cs-kd":
            assert inputs.paired_images is not None
            with torch.no_grad():
                target = forward(inputs.paired_images)
            task = self._task(logits, inputs)
            return task, config.cs_kd_weight * kd_loss(logits, target[None], config.cs_kd_temperature)
        task = self._task(logits, inputs)
        if config.method == "ps-kd" and previous is not None:
            with torch.no_grad():
                target = previous(inputs.images).softmax(1)
            return task, config.ps_kd_weight * (cross_entropy(logits, target) - task)
        if config.method == "tf-kd-self":
            assert inputs.self_teacher_logits is not None
            term = config.tf_kd_self_scale * kd_loss(logits, inputs.self_teacher_logits, config.tf_kd_self_temperature)
            return task, config.tf_kd_self_weight * (term - task)
        return task, None

    def _dlb(self, forward: Forward, previous: Forward | None, inputs: SaliencyBatch) -> Terms:
        """Another view of the batch is pulled to the prediction one step before on the first view."""
        assert inputs.paired_images is not None
        n = len(inputs.images)
        logits = forward(torch.cat([inputs.images, inputs.paired_images]))
        task = (self._task(logits[:n], inputs) + self._task(logits[n:], inputs)) / 2
        if previous is None:
            return task, None
        with torch.no_grad():
            target = previous(inputs.images)
        return task, self.config.dlb_weight * kd_loss(logits[n:], target[None], self.config.dlb_temperature)

    def _task(self, logits: Tensor, inputs: SaliencyBatch) -> Tensor:
        return self.task_loss(logits, inputs.batch, 0).total
