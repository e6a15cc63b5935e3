"""A training in progress: its epochs, one after the other, and what a checkpoint in the middle of one holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.data.augment.views import Views
from datapruning.data.batching import batch_sizes, training_batches
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.losses import Objective
from datapruning.training.reproducibility import model_device
from datapruning.training.rng import Streams
from datapruning.training.self_distillation.base import Companion, read_companions
from datapruning.training.state import Parts, Progress
from datapruning.training.step import Updates
from datapruning.utils.console import Bar

if TYPE_CHECKING:
    from datapruning.training.distributed.coordinator import SharedTraining


@dataclass(frozen=True)
class Fitting:
    """What `fit` has put together; `forward` is the network's forward pass, `done` grows epoch by epoch."""

    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    loader: Loader
    ids: NDArray[np.int64]
    views: Views
    training: TrainConfig
    objective: Objective
    seed: int
    steps: int
    rate: Callable[[int], float]
    parts: Parts
    done: Progress
    checkpoint: Checkpoint | None
    shared: SharedTraining | None

    def epoch(self, bar: Bar, saved: Mapping[str, Tensor]) -> float:
        """Train for one epoch, or for what is left of one that was begun; returns its seconds.

        `saved` are the tensors of a checkpoint in the middle of it.
        """
        done, parts, training = self.done, self.parts, self.training
        started = time.perf_counter() - float(done.begun.get("seconds", 0.0))
        first = int(done.begun.get("batches", 0))
        sizes = batch_sizes(len(self.ids), training.update_size)
        planned = min(len(sizes), self.steps - done.step)
        chosen = parts.pruning.begin(done.epoch, done.step / self.steps) if parts.pruning else None
        batches = training_batches(self.ids if chosen is None else chosen, training.update_size, self.seed, done.epoch)
        batches = batches[: -(-len(batches) * planned // len(sizes))]
        updates = Updates(
            self.model, self.forward, self.optimizer, training, self.objective, parts,
            pruned=chosen is not None, own_rows=self.shared.own_rows if self.shared else None,
        )  # fmt: skip
        if first:
            updates.restore(done.begun, saved)
            done.begun = {}
            bar.advance(first)
        for observer in parts.observers:
            if first:
                observer.go_on(done.epoch, np.concatenate(batches[:first]))
            else:
                observer.begin_epoch(done.epoch)
        # `done.step` + k in a whole epoch
        places = [done.step + (2 * k + 1) * planned // (2 * len(batches)) for k in range(len(batches))]
        rates = [self.rate(step) for step in places]
        streams = Streams(model_device(self.model), self.seed, done.epoch, len(batches))
        for number, ((batch, images), companion) in enumerate(self._read(batches, first, rates), first):
            streams.begin(number)
            updates.update(batch, images, done.epoch, places[number], rates[number], companion)
            bar.advance()
            if self.checkpoint and number + 1 < len(batches) and self.checkpoint.due():
                self._save_begun(self.checkpoint, updates, number + 1, time.perf_counter() - started)
        updates.check()
        with parts.average.shown() if parts.average and parts.observers else nullcontext():
            for observer in parts.observers:
                observer.end_epoch(done.epoch, self.model)
        if parts.pruning:
            parts.pruning.end()
        bar.advance(planned - len(batches))
        numbers, seconds = updates.means(done.epoch), time.perf_counter() - started
        done.epoch += 1
        done.step += planned
        done.samples_seen += updates.seen
        done.samples_again += updates.again
        done.samples_forward += updates.forward_only
        done.steps_skipped += planned - len(batches)
        done.samples_skipped += sum(sizes[:planned]) - updates.seen
        done.seconds += seconds
        done.history.append({**numbers, "lr": rates[-1], "step": done.updates, "seconds": round(seconds, 3)})
        return seconds

    def _read(
        self, batches: Sequence[NDArray[np.int64]], first: int, rates: Sequence[float]
    ) -> Iterator[tuple[tuple[Batch, Tensor], Companion | None]]:
        """Each batch from number `first` on, with its images and what a method of self-distillation wants beside it."""
        distil, epoch, left = self.parts.distil, self.done.epoch, batches[first:]
        wanted = distil.companions(left, epoch) if distil else [None] * len(left)
        if self.shared:
            return self.shared.read(left, epoch, first, rates[first:], wanted)
        companions = read_companions(wanted, self.views, self.loader)
        return zip(self.views.read(self.loader, left, epoch), companions, strict=True)

    def _save_begun(self, checkpoint: Checkpoint, updates: Updates, batches: int, seconds: float) -> None:
        """Save in the middle of an epoch, after so many of its batches."""
        updates.check()
        for observer in self.parts.observers:
            observer.flush()
        self.save(checkpoint, {"batches": batches, "seconds": seconds, **updates.sums()}, updates.tensors())

    def save(self, to: Checkpoint, begun: Mapping[str, Any] | None = None, sums: Mapping[str, Tensor] | None = None) -> None:
        """Save; `begun` and `sums` are of an epoch in whose middle it is."""
        state = {**asdict(self.done), "begun": dict(begun or {})}
        to.save(self.model, self.optimizer, state, {**self.parts.tensors(), **(sums or {})})
        for observer in self.parts.observers:
            observer.saved(self.done.epoch - 1)
