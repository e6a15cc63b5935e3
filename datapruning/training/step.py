"""What happens in an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import Objective
from datapruning.training.micro_batches import split_batch
from datapruning.training.nan_guard import LossWatch
from datapruning.training.reproducibility import autocast, model_device
from datapruning.training.self_distillation.base import Companion
from datapruning.training.sparsity.masks import Held
from datapruning.training.state import Parts

LOSS, CORRECT = "epoch.loss", "epoch.correct"


def make_step(model: nn.Module, optimizer: torch.optim.Optimizer, training: TrainConfig, held: Held | None) -> None:
    """From the gradients of an update to new weights."""
    if held is not None:
        held.before_update()
    if training.clip_grad_norm:
        nn.utils.clip_grad_norm_(model.parameters(), training.clip_grad_norm)
    optimizer.step()


class Updates:
    """The updates of one epoch, with running sums that stay on the device.

    Args:
        model: whose weights are updated.
        network: its forward pass; the model itself, or what shares its weights.
        optimizer: of the model.
        training: precision, clipping, accumulation.
        objective: loss of a batch.
        parts: what else takes part.
        pruned: whether `parts.pruning` chose the samples of this epoch.
        own_rows: see `split_batch`.
    """

    def __init__(
        self,
        model: nn.Module,
        network: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        training: TrainConfig,
        objective: Objective,
        parts: Parts,
        *,
        pruned: bool,
        own_rows: Callable[[int], int] | None = None,
    ) -> None:
        self._model, self._network, self._optimizer = model, network, optimizer
        self._objective, self._observers, self._training = objective, parts.observers, training
        self._pruning = parts.pruning if pruned else None
        self._distil, self._held, self._average = parts.distil, parts.held, parts.average
        self._device, self._precision, self._own_rows = model_device(model), training.precision, own_rows
        self._loss = torch.zeros((), device=self._device)
        self._correct = torch.zeros((), dtype=torch.float32 if pruned else torch.int64, device=self._device)
        self._weight: float = 0
        self.seen = self.again = self.forward_only = 0
        self._watch = LossWatch(self._device)

    def update(
        self, batch: Batch, images: Tensor, epoch: int, step: int, rate: float, companion: Companion | None = None
    ) -> None:
        """One update; `step` is its place in the schedule.

        Raises:
            Diverged: the loss is no finite number; on a GPU perhaps some updates later, naming the right one.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        if self._distil is not None:
            logits, loss = self._distil.step(self._forward, self._objective, batch, images, companion, epoch)
            loss.backward()  # type: ignore[no-untyped-call]
            self._met(batch, epoch, step, logits, loss)
            self._count(companion)
        else:
            for part, views, share in split_batch(batch, images, self._training, self._own_rows):
                self._pass(part, views, share, epoch, step)
        self._watch.look()
        make_step(self._model, self._optimizer, self._training, self._held)
        if self._average is not None:
            self._average.update()

    def _pass(self, batch: Batch, images: Tensor, share: float, epoch: int, step: int) -> None:
        """Forward and backward; `share` is the batch's part of the update."""
        logits = self._forward(images)
        counts: NDArray[np.float32] | None = None
        if self._pruning is None:
            loss = self._objective(logits, batch, epoch)
        else:
            losses, counts = self._objective.each(logits, batch, epoch), self._pruning.weights(batch.ids)
            self._pruning.meet(batch.ids, losses)
            loss = (self._there(counts) * losses).mean()
        (loss if share == 1 else share * loss).backward()  # type: ignore[no-untyped-call]
        self._met(batch, epoch, step, logits, loss, counts)

    def _met(
        self, batch: Batch, epoch: int, step: int, logits: Tensor, loss: Tensor, counts: NDArray[np.float32] | None = None
    ) -> None:
        logits, loss = logits.detach(), loss.detach()
        self._loss += loss * len(batch.ids)
        self._watch.note(loss, epoch, step, batch.ids)
        correct = logits.argmax(1) == batch.labels
        self._correct += correct.sum() if counts is None else (self._there(counts) * correct).sum()
        self._weight += len(batch.ids) if counts is None else float(counts.sum(dtype=np.float64))
        self.seen += len(batch.ids)
        for observer in self._observers:
            observer.observe(epoch, batch, logits)

    def _there(self, counts: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(counts).to(self._device, non_blocking=True)

    def _forward(self, images: Tensor) -> Tensor:
        with autocast(self._precision, self._device):
            logits = self._network(images)
        return logits.float()

    def _count(self, companion: Companion | None) -> None:
        if companion is not None and self._distil is not None:
            if self._distil.companions_train:
                self.again += len(companion.batch.ids)
            else:
                self.forward_only += len(companion.batch.ids)

    def check(self) -> None:
        """Before a state is saved, and at the end of an epoch.

        Raises:
            Diverged: a loss was no finite number, or a weight is none.
        """
        self._watch.look(now=True)
        self._watch.look_at_weights(self._model)

    def means(self, epoch: int) -> dict[str, Any]:
        """A row of the history."""
        loss, correct = float(self._loss), self._correct.item()
        return {"epoch": epoch, "loss": loss / self._weight, "train_accuracy": 100 * correct / self._weight}

    def sums(self) -> dict[str, float]:
        """What a checkpoint in the middle of the epoch has to hold beside `tensors`."""
        return {"weight": self._weight, "seen": self.seen, "again": self.again, "forward_only": self.forward_only}

    def tensors(self) -> dict[str, Tensor]:
        """The running sums that are on the device."""
        return {LOSS: self._loss, CORRECT: self._correct}

    def restore(self, sums: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on in the middle of an epoch."""
        self._weight, self.seen = sums["weight"], sums["seen"]
        self.again, self.forward_only = sums["again"], sums["forward_only"]
        self._loss.copy_(tensors[LOSS])
        self._correct.copy_(tensors[CORRECT])
