"""DLB: the last mini-batch comes again, and its new predictions are drawn to its old ones (Shen et al., CVPR 2022)."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import Loss, LossTerms, kd_loss, merge_means
from datapruning.training.self_distillation.base import AuxiliaryBatch, AuxiliaryRequest, Forward, SelfDistillation

IDS, LOGITS, EPOCH = "dlb.ids", "dlb.logits", "dlb.epoch"


class DLB(SelfDistillation):
    """base over both halves + weight * T^2 * KL(before_T || now_T), `before` being a constant (their section 3.2).

    The batch and the one before it pass through the network as one, and the base is the mean over all of it. The batch
    before comes in another view than it had: the one that is half of the run's views away, so that soft labels of a teacher
    are there for it. `before` are its logits of the update before, in training mode. The last batch of an epoch is the
    first one's batch before in the next; the very first batch of a run has none, and its base alone.

    Args:
        weight: of the term.
        temperature: T.
        views: different views that the run sees: the recipe's number, or the run's epochs if they are fewer. With 1, a
            batch comes again in the view it had.
    """

    trains_on_auxiliary = True

    def __init__(self, weight: float, temperature: float, views: int) -> None:
        self.weight, self.temperature, self.views = weight, temperature, views
        self._ids: NDArray[np.int64] | None = None
        self._logits: Tensor | None = None
        self._epoch = 0

    def auxiliary_batches(self, batches: Sequence[NDArray[np.int64]], epoch: int) -> list[AuxiliaryRequest | None]:
        """For each batch the one before it."""
        carried = None if self._ids is None else (self._ids, self._other(self._epoch))
        return [carried, *((ids, self._other(epoch)) for ids in batches[:-1])][: len(batches)]

    def _other(self, epoch: int) -> int:
        return (epoch + self.views // 2) % self.views

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """See `SelfDistillation.step`."""
        if auxiliary is None:
            logits = forward(images)
            losses = loss(logits, batch, epoch)
        else:
            assert self._logits is not None
            n, m = len(batch.ids), len(auxiliary.batch.ids)  # the images may be one process's part
            both = forward(torch.cat([images, auxiliary.images]))
            logits, again = both[:n], both[n:]
            base = merge_means(loss(logits, batch, epoch), n, loss(again, auxiliary.batch, auxiliary.epoch), m)
            before = self._logits.to(again.device, non_blocking=True)
            term = kd_loss(again, before[None], self.temperature)
            losses = base._replace(total=base.total + self.weight * term, self_distillation=term)
        self._ids, self._logits, self._epoch = batch.ids, logits.detach(), epoch
        return logits, losses

    def tensors(self) -> dict[str, Tensor]:
        """The last batch: ids int64 [n], logits float32 [n, classes], and its epoch."""
        if self._ids is None or self._logits is None:
            return {}
        return {IDS: torch.from_numpy(self._ids), LOGITS: self._logits, EPOCH: torch.tensor(self._epoch)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """That batch is the one before."""
        if IDS in tensors:
            self._ids, self._logits, self._epoch = tensors[IDS].numpy(), tensors[LOGITS], int(tensors[EPOCH])
