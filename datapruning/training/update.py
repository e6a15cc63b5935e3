"""What happens in an update, and who looks on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config import Training
from datapruning.data.loader import Batch
from datapruning.errors import DataPruningError
from datapruning.self_distillation.method import Companion, SelfDistillation
from datapruning.sparsity.masks import Held
from datapruning.training.average import MovingAverage
from datapruning.training.dynamic_pruning import InfoBatch
from datapruning.training.environment import autocast, model_device
from datapruning.training.objectives import Objective
from datapruning.training.parts import split_batch


class Observer:
    """Looks on while a network trains; records evidence, metrics, whatever. Does nothing unless overridden."""

    def begin_epoch(self, epoch: int) -> None:
        """Before the first batch. After a resume, an epoch may begin again: what it recorded then is void."""

    def observe(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """After each forward pass; `logits` float32 [n, classes] may be kept only as a copy."""

    def end_epoch(self, epoch: int, model: nn.Module) -> None:
        """After the last update of an epoch."""

    def saved(self, epoch: int) -> None:
        """A checkpoint of the state after this epoch is on disk: a resume begins no earlier than after it."""


class Updates:
    """The updates of one epoch, with running sums that stay on the device."""

    def __init__(
        self,
        model: nn.Module,
        network: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        training: Training,
        objective: Objective,
        observers: Sequence[Observer],
        pruning: InfoBatch | None,
        distil: SelfDistillation | None,
        held: Held | None,
        average: MovingAverage | None,
    ) -> None:
        self._model, self._network, self._optimizer = model, network, optimizer
        self._objective, self._observers, self._training = objective, observers, training
        self._pruning, self._distil, self._held, self._average = pruning, distil, held, average
        self._device, self._precision = model_device(model), training.precision
        self._loss = torch.zeros((), device=self._device)
        self._correct = torch.zeros((), dtype=torch.float32 if pruning else torch.int64, device=self._device)
        self._weight: float = 0
        self.seen = self.again = self.forward_only = 0

    def update(self, batch: Batch, images: Tensor, epoch: int, rate: float, companion: Companion | None = None) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        if self._distil is not None:
            logits, loss = self._distil.step(self._forward, self._objective, batch, images, companion, epoch)
            loss.backward()  # type: ignore[no-untyped-call]
            self._met(batch, epoch, logits, loss)
            self._count(companion)
        else:
            for part, views, share in split_batch(batch, images, self._training):
                self._pass(part, views, share, epoch)
        if self._held is not None:
            self._held.before_update()
        if self._training.clip:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._training.clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.update()

    def _pass(self, batch: Batch, images: Tensor, share: float, epoch: int) -> None:
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
        self._met(batch, epoch, logits, loss, counts)

    def _met(
        self, batch: Batch, epoch: int, logits: Tensor, loss: Tensor, counts: NDArray[np.float32] | None = None
    ) -> None:
        logits = logits.detach()
        self._loss += loss.detach() * len(batch.ids)
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

    def means(self, epoch: int) -> dict[str, Any]:
        loss = float(self._loss) / self._weight
        if not math.isfinite(loss):
            raise DataPruningError(f"the training loss became {loss} in epoch {epoch}: lower the learning rate (train.lr)")
        return {"epoch": epoch, "loss": loss, "train_accuracy": 100 * self._correct.item() / self._weight}
