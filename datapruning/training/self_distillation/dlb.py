"""DLB: the last mini-batch is repeated, and its new predictions are pulled to its old ones (Shen et al., CVPR 2022)."""

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
    """task loss over both batches + weight * T^2 * KL(previous_T || current_T), `previous` constant (their section 3.2).

    A batch and the one before it pass through the network as one, and the task loss is the mean over both. The batch before
    has another view than it had: the one that is half of the run's `views` away, so that soft labels of a teacher exist for
    it (with a single view, the same). `previous` are its logits of the step before, in training mode. The last batch of an
    epoch is repeated in the first step of the next; the first step of a run has the task loss alone.
    """

    per_process = True
    trains_on_auxiliary = True

    def __init__(self, weight: float, temperature: float, views: int) -> None:
        self.weight, self.temperature, self.views = weight, temperature, views
        self._ids: NDArray[np.int64] | None = None
        self._logits: Tensor | None = None
        self._epoch = 0

    def auxiliary_batches(self, batches: Sequence[NDArray[np.int64]], epoch: int) -> list[AuxiliaryRequest | None]:
        """The batch before each batch."""
        carried = None if self._ids is None else (self._ids, self._repeat_view(self._epoch))
        return [carried, *((ids, self._repeat_view(epoch)) for ids in batches[:-1])][: len(batches)]

    def _repeat_view(self, epoch: int) -> int:
        return (epoch + self.views // 2) % self.views

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """See `SelfDistillation.step`."""
        if auxiliary is None:
            logits = forward(images)
            losses = loss(logits, batch, epoch)
        else:
            assert auxiliary.logits is not None
            n, m = len(batch.ids), len(auxiliary.batch.ids)
            both = forward(torch.cat([images, auxiliary.images]))
            logits, repeated = both[:n], both[n:]
            task = merge_means(loss(logits, batch, epoch), n, loss(repeated, auxiliary.batch, auxiliary.epoch), m)
            term = kd_loss(repeated, auxiliary.logits[None], self.temperature)
            losses = task._replace(total=task.total + self.weight * term, self_distillation=term)
        return logits, losses

    def before_step(self, auxiliary: AuxiliaryBatch | None) -> AuxiliaryBatch | None:
        """The auxiliary batch with its logits of the step before."""
        if auxiliary is None or self._logits is None:
            return auxiliary
        return auxiliary._replace(logits=self._logits.to(auxiliary.images.device, non_blocking=True))

    def after_step(self, batch: Batch, logits: Tensor, epoch: int) -> None:
        """Keep the logits for the next step."""
        self._ids, self._logits, self._epoch = batch.ids, logits, epoch

    def tensors(self) -> dict[str, Tensor]:
        """The last batch: ids int64 [n], logits float32 [n, classes], and its epoch."""
        if self._ids is None or self._logits is None:
            return {}
        return {IDS: torch.from_numpy(self._ids), LOGITS: self._logits, EPOCH: torch.tensor(self._epoch)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from the last batch that a checkpoint holds."""
        if IDS in tensors:
            self._ids, self._logits, self._epoch = tensors[IDS].numpy(), tensors[LOGITS], int(tensors[EPOCH])
