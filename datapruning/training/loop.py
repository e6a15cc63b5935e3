"""The one loop. Teachers, students, proxies and pilots are all trained here, and nowhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config import Training
from datapruning.data.loader import Batch, Loader
from datapruning.data.order import batch_sizes, training_batches
from datapruning.data.views import Views
from datapruning.errors import DataPruningError
from datapruning.progress import Bar
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.environment import autocast, model_device
from datapruning.training.objectives import Objective
from datapruning.training.schedules import learning_rate

LEAST = 2
"""Samples in the smallest batch: batch norm has nothing to normalise in one."""


class Observer:
    """Looks on while a network trains; records evidence, metrics, whatever. Does nothing unless overridden."""

    def begin_epoch(self, epoch: int) -> None:
        """Before the first batch. After a resume, an epoch may begin again: what it recorded then is void."""

    def observe(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """After each forward pass; `logits` float32 [n, classes] may be kept only as a copy."""

    def end_epoch(self, epoch: int, model: nn.Module) -> None:
        """After the last update of an epoch."""


@dataclass
class Progress:
    """How far a training is: what a checkpoint holds beside weights and momentum."""

    epoch: int = 0
    step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def planned_steps(training: Training, kept: int, total: int) -> int:
    """Updates of a whole run: `epochs` passes over what is kept or, under the budget "steps", over the full data set."""
    passes_over = total if training.budget == "steps" else kept
    return training.epochs * len(batch_sizes(passes_over, training.batch_size))


def planned_epochs(training: Training, kept: int, total: int) -> int:
    """Passes over the kept samples that the run makes, the last one perhaps not whole."""
    return math.ceil(planned_steps(training, kept, total) / len(batch_sizes(kept, training.batch_size)))


def fit(
    model: nn.Module,
    loader: Loader,
    ids: NDArray[np.int64],
    views: Views,
    training: Training,
    objective: Objective,
    *,
    seed: int,
    steps: int,
    label: str,
    stop_after: int | None = None,
    observers: Sequence[Observer] = (),
    checkpoint: Checkpoint | None = None,
    begin: Checkpoint | None = None,
    leave: Checkpoint | None = None,
    rate: Callable[[int], float] | None = None,
    on_epoch: Callable[[Sequence[dict[str, Any]]], None] | None = None,
) -> Progress:
    """Train `model` in place.

    Args:
        model: on the device it is to be trained on.
        loader: of the training split.
        ids: int64, the samples to train on.
        views: what an epoch makes of a sample.
        training: optimiser, schedule, batch size, precision.
        objective: loss of a batch.
        seed: of the order of samples.
        steps: updates of the whole schedule (`planned_steps`).
        label: what the progress bar says.
        stop_after: leave the schedule after so many epochs.
        observers: see `Observer`.
        checkpoint: where to save and resume; None: never.
        begin: a state that another call left, to go on from where `checkpoint` has nothing yet.
        leave: where to leave the state at the end, for others to go on from.
        rate: learning rate of an update; default: the schedule of `training`.
        on_epoch: gets the history, a row an epoch, after each epoch.

    Raises:
        DataPruningError: the loss is no longer a finite number.
    """
    optimizer = torch.optim.SGD(
        model.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay,
        nesterov=training.momentum > 0, fused=True,
    )  # fmt: skip
    saved = next((found for c in (checkpoint, begin) if c and (found := c.load(model, optimizer))), None)
    done = Progress() if saved is None else Progress(**saved)
    rate = rate or partial(learning_rate, training.schedule, training.lr, training.warmup, steps=steps)
    per_epoch = len(batch_sizes(len(ids), training.batch_size))
    epochs = min(done.epoch + math.ceil((steps - done.step) / per_epoch), stop_after or steps)
    model.train()
    with Bar.shown(label, min(steps, done.step + (epochs - done.epoch) * per_epoch)) as bar:
        bar.advance(done.step)
        while done.epoch < epochs:
            started = time.perf_counter()
            batches = training_batches(ids, training.batch_size, seed, done.epoch)[: steps - done.step]
            watched = _Watched(model, optimizer, training, objective, observers)
            for observer in observers:
                observer.begin_epoch(done.epoch)
            for batch, images in views.read(loader, batches, done.epoch):
                watched.update(batch, images, done.epoch, rate(done.step))
                done.step += 1
                bar.advance()
            for observer in observers:
                observer.end_epoch(done.epoch, model)
            numbers = watched.means(done.epoch)
            done.epoch += 1
            done.samples_seen += watched.seen
            seconds = time.perf_counter() - started
            done.seconds += seconds
            done.history.append({**numbers, "step": done.step, "seconds": round(seconds, 3)})
            if on_epoch:
                on_epoch(done.history)
            if checkpoint and done.epoch < epochs and checkpoint.due():
                checkpoint.save(model, optimizer, asdict(done))
    if leave:
        leave.save(model, optimizer, asdict(done))
    return done


class _Watched:
    """The update step of one epoch, with running sums that stay on the device."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        training: Training,
        objective: Objective,
        observers: Sequence[Observer],
    ) -> None:
        self._model, self._optimizer, self._objective, self._observers = model, optimizer, objective, observers
        self._device, self._precision = model_device(model), training.precision
        self._loss = torch.zeros((), device=self._device)
        self._correct = torch.zeros((), dtype=torch.int64, device=self._device)
        self.seen = 0

    def update(self, batch: Batch, images: Tensor, epoch: int, rate: float) -> None:
        self._optimizer.param_groups[0]["lr"] = rate
        with autocast(self._precision, self._device):
            logits = self._model(images)
        logits = logits.float()
        loss = self._objective(logits, batch, epoch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        logits = logits.detach()
        self._loss += loss.detach() * len(batch.ids)
        self._correct += (logits.argmax(1) == batch.labels).sum()
        self.seen += len(batch.ids)
        for observer in self._observers:
            observer.observe(epoch, batch, logits)

    def means(self, epoch: int) -> dict[str, Any]:
        loss = float(self._loss) / self.seen
        if not math.isfinite(loss):
            raise DataPruningError(f"the training loss became {loss} in epoch {epoch}: lower the learning rate (train.lr)")
        return {"epoch": epoch, "loss": loss, "train_accuracy": 100 * int(self._correct) / self.seen}
