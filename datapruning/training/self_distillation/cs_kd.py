"""CS-KD: a sample's prediction is pulled to that for another sample of its class (Yun et al., CVPR 2020, section 2.2)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import Loss, LossTerms, kd_loss
from datapruning.training.self_distillation.base import AuxiliaryBatch, AuxiliaryRequest, Forward, SelfDistillation
from datapruning.training.self_distillation.class_pairs import ClassPairs


class CSKD(SelfDistillation):
    """task loss + weight * T^2 * KL(partner_T || sample_T), the partner's logits being constant.

    As in the authors' code the partners have a forward pass of their own, after the batch and in training mode, so that
    batch norm counts them.

    Args:
        pairs: of samples of a class.
        weight: of the term.
        temperature: T.
        seed: of the draws.
    """

    def __init__(self, pairs: ClassPairs, weight: float, temperature: float, seed: int) -> None:
        self.pairs, self.weight, self.temperature, self.seed = pairs, weight, temperature, seed

    def auxiliary_batches(self, batches: Sequence[NDArray[np.int64]], epoch: int) -> list[AuxiliaryRequest | None]:
        """A partner for each sample, in the same epoch's view."""
        return [(self.pairs.draw(ids, self.seed, epoch), epoch) for ids in batches]

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """See `SelfDistillation.step`."""
        assert auxiliary is not None
        logits = forward(images)
        with torch.no_grad():
            partners = forward(auxiliary.images)
        task = loss(logits, batch, epoch)
        term = kd_loss(logits, partners[None], self.temperature)
        return logits, task._replace(total=task.total + self.weight * term, self_distillation=term)
