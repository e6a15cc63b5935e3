"""PS-KD: labels are softened, more and more, by the student's own prediction an epoch ago (Kim et al., ICCV 2021)."""

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from datapruning.data.loaders.loader import Batch
from datapruning.training.distributed.collectives import gather_rows
from datapruning.training.losses import Loss, LossTerms
from datapruning.training.self_distillation.base import AuxiliaryBatch, Forward, SelfDistillation
from datapruning.utils.processes import num_processes

IDS, TABLE = "ps-kd.ids", "ps-kd.table"


class PSKD(SelfDistillation):
    """(1 - a_t) * task loss + a_t * CE(P, z), a_t = weight * (t + 1) / epochs in epoch t (their section 3.1, equation 7).

    P is the softmax of the sample's last training pass, in the view it had. A sample without one has the task loss alone,
    as all have in the first epoch. `epochs` are those of the whole run, `ids` int64 [n] the samples of this training.
    """

    per_process = True

    def __init__(self, ids: NDArray[np.int64], classes: int, weight: float, epochs: int) -> None:
        self.ids = np.sort(ids)
        self.weight, self.epochs = weight, epochs
        self.table = torch.full((len(ids), classes), torch.nan)
        self._share, self._device_ids = torch.zeros(()), torch.from_numpy(self.ids)

    def begin_epoch(self, epoch: int, device: torch.device) -> None:
        """Put the table on the device, and set a_t."""
        if self.table.device != device:
            self.table, self._share = self.table.to(device), self._share.to(device)
            self._device_ids = torch.from_numpy(self.ids).to(device)
        self._share.fill_(self.weight * (epoch + 1) / self.epochs)

    def variant(self, epoch: int) -> Hashable:
        """Whether there are earlier predictions."""
        return epoch == 0

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """See `SelfDistillation.step`."""
        logits = forward(images)
        assert batch.device_ids is not None
        rows = torch.searchsorted(self._device_ids, batch.device_ids)
        if epoch == 0:
            losses = loss(logits, batch, epoch)
        else:
            previous = self.table.index_select(0, rows).to(logits.dtype)
            known = ~previous.isnan().any(1)
            share = self._share * known
            term = cross_entropy(logits, previous.nan_to_num(0.0), reduction="none")
            task = loss.per_sample(logits, batch, epoch)
            per_sample = task._replace(total=(1 - share) * task.total + share * term, self_distillation=known * term)
            losses = per_sample.map(Tensor.mean)
        self.table.index_copy_(0, rows, softmax(logits.detach().float(), dim=1))
        return logits, losses

    def end_epoch(self, ids: NDArray[np.int64]) -> None:
        """Take in the predictions that other processes made in this epoch: their samples may come here in the next."""
        if num_processes() > 1:
            rows = torch.from_numpy(np.searchsorted(self.ids, ids)).to(self.table.device)
            all_ids, predictions = gather_rows(ids, self.table.index_select(0, rows))
            self.table[torch.from_numpy(np.searchsorted(self.ids, all_ids))] = predictions

    def tensors(self) -> dict[str, Tensor]:
        """Ids int64 [n] and the table float32 [n, classes] by id, apart, so that no id goes through a float."""
        return {IDS: torch.from_numpy(self.ids), TABLE: self.table}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint. Samples that it lacks count as not trained on: a part of a run may train on fewer."""
        if IDS not in tensors:
            return
        known = tensors[IDS].numpy()
        _, rows, saved_rows = np.intersect1d(self.ids, known, assume_unique=True, return_indices=True)
        self.table[torch.from_numpy(rows)] = tensors[TABLE].to(self.table.device)[torch.from_numpy(saved_rows)]
