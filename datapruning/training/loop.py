"""The one loop. Teachers, students, proxies and pilots are all trained here, and nowhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config import Training
from datapruning.data.loader import Loader
from datapruning.data.order import batch_sizes, training_batches
from datapruning.data.views import Views
from datapruning.distributed.share import shared_training
from datapruning.errors import BadFile, BadValue, TimeIsUp
from datapruning.hardware import hardware
from datapruning.progress import Bar
from datapruning.self_distillation.method import SelfDistillation, read_companions
from datapruning.sparsity.masks import Held, Masks
from datapruning.training.average import MovingAverage
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.dynamic_pruning import InfoBatch
from datapruning.training.environment import compiled, model_device
from datapruning.training.objectives import Objective
from datapruning.training.optimizers import make_optimizer
from datapruning.training.randomness import Streams, own_streams
from datapruning.training.schedules import planned_rate
from datapruning.training.time_limit import TimeLimit
from datapruning.training.update import Observer, Updates

LEAST = 2
"""Samples in the smallest batch: batch norm has nothing to normalise in one."""


@dataclass
class Progress:
    """How far a training is: what a checkpoint holds beside weights and momentum.

    Attributes:
        epoch: epochs done.
        step: the place in the schedule, in planned updates.
        samples_seen: presentations.
        seconds: spent on training.
        history: a row an epoch.
        steps_skipped: planned updates that dynamic pruning left out.
        samples_skipped: presentations that it left out.
        samples_again: companions of batches that went through a training pass, too (self-distillation).
        samples_forward: companions that went through a forward pass alone.
        begun: of an epoch that has begun, what a checkpoint in its middle holds: `batches` that were trained on,
            `seconds`, and the sums of `Updates.sums`. Else empty.
    """

    epoch: int = 0
    step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    steps_skipped: int = 0
    samples_skipped: int = 0
    samples_again: int = 0
    samples_forward: int = 0
    begun: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Progress:
        """As it was saved.

        Raises:
            BadFile: by a version of this package that this one cannot follow.
        """
        unknown = set(state) - {each.name for each in fields(cls)}
        if unknown:
            raise BadFile(f"a checkpoint holds '{min(unknown)}', which only another version of this package understands")
        return cls(**state)

    @property
    def updates(self) -> int:
        """Updates that were made."""
        return self.step - self.steps_skipped


def planned_steps(training: Training, kept: int, total: int) -> int:
    """Updates of a whole run: `epochs` passes over what is kept or, under the budget "steps", over the full data set."""
    passes_over = total if training.budget == "steps" else kept
    return training.epochs * len(batch_sizes(passes_over, training.update_size))


def planned_epochs(training: Training, kept: int, total: int) -> int:
    """Passes over the kept samples that the run makes, the last one perhaps not whole."""
    return math.ceil(planned_steps(training, kept, total) / len(batch_sizes(kept, training.update_size)))


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
    distil: SelfDistillation | None = None,
    masks: Masks | None = None,
    limit: TimeLimit | None = None,
) -> Progress:
    """Train `model` in place. With `training.ema`, it has the averaged weights afterwards, and whenever an observer looks.

    Where `training` prunes dynamically, an epoch of fewer updates still passes its whole part of the schedule: the rates
    of its updates lie at even distances in it.

    A checkpoint is saved when it is due, in the middle of an epoch or at its end; a resumed training makes the very updates
    that one that was never stopped makes. torch's global random streams are as they were afterwards (see `randomness.py`).

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
        distil: adds its term to the objective. A new one for each call; its state is in the checkpoints.
        masks: which weights are kept; the others are zero from here on.
        limit: where it leaves no time for another epoch, the state is saved in `checkpoint`, and the training stops.

    Raises:
        Diverged: a loss or a weight is no finite number any more. The checkpoint is one of before.
        BadValue: self-distillation and dynamic pruning. Mismatch: masks of another model, a checkpoint of other masks.
        BadFile: a checkpoint that is broken, or of another version of this package.
        TimeIsUp: see `limit`. OutOfMemory, DeviceLost: what was saved stays.
    """
    if distil and training.infobatch:
        raise BadValue("self-distillation and infobatch do not go together: switch one of them off")
    if distil and training.accumulate > 1:
        raise BadValue("self-distillation and train.accumulate do not go together: leave accumulate at 1")
    optimizer = make_optimizer(model, training)
    saved = next((found for c in (checkpoint, begin) if c and (found := c.load(model, optimizer))), None)
    state, extra = saved or ({}, {})
    done = Progress.of(state)
    pruning = InfoBatch.of(training, ids, seed)
    if pruning and extra:
        pruning.restore(extra)
    if distil and extra:
        distil.restore(extra)
    held = Held(masks, model) if masks else None
    if held and saved:
        held.check(extra)
    average = MovingAverage.of(model, training.ema)
    if average and extra:
        average.restore(extra)
    for observer in observers:
        observer.restore(extra)
    del saved
    parts = [*(part for part in (pruning, distil, held, average) if part is not None), *observers]

    def more() -> dict[str, Tensor]:
        return {name: tensor for part in parts for name, tensor in part.tensors().items()}

    def save(to: Checkpoint, begun: dict[str, Any], sums: dict[str, Tensor]) -> None:
        to.save(model, optimizer, {**asdict(done), "begun": begun}, more() | sums)
        for observer in observers:
            observer.saved(done.epoch - 1)

    rate = rate or partial(planned_rate, training, steps=steps)
    shared = shared_training(loader, model, optimizer, views, training, distil, masks, seed)
    forward = shared.network if shared else compiled(model) if training.compile else model
    sizes = batch_sizes(len(ids), training.update_size)
    per_epoch = len(sizes)
    epochs = min(done.epoch + math.ceil((steps - done.step) / per_epoch), stop_after or steps)
    device = model_device(model)
    model.train()
    shown = Bar.shown(label, min(steps, done.step + (epochs - done.epoch) * per_epoch))
    guard = hardware(label, training.batch_size, training.accumulate)
    with guard, own_streams(device), shared or nullcontext(), shown as bar:
        bar.advance(done.step)
        while done.epoch < epochs:
            first = int(done.begun.get("batches", 0))
            started = time.perf_counter() - done.begun.get("seconds", 0.0)
            planned = min(per_epoch, steps - done.step)
            chosen = pruning.begin(done.epoch, done.step / steps) if pruning else None
            batches = training_batches(ids if chosen is None else chosen, training.update_size, seed, done.epoch)
            batches = batches[: -(-len(batches) * planned // per_epoch)]
            by = None if chosen is None else pruning
            own = shared.own_rows if shared else None
            watched = Updates(model, forward, optimizer, training, objective, observers, by, distil, held, average, own)
            if first:
                watched.restore(done.begun, extra)
                bar.advance(first)
            done.begun, extra = {}, {}  # what was loaded is not held through the run
            for observer in observers:
                if first:
                    observer.go_on(done.epoch, np.concatenate(batches[:first]))
                else:
                    observer.begin_epoch(done.epoch)
            streams, left = Streams(device, seed, done.epoch, len(batches)), batches[first:]
            # `done.step` + k in a whole epoch
            places = [done.step + (2 * k + 1) * planned // (2 * len(batches)) for k in range(first, len(batches))]
            rates = [rate(step) for step in places]
            wanted = distil.companions(left, done.epoch) if distil else [None] * len(left)
            if shared:
                pairs = shared.read(left, done.epoch, first, rates, wanted)
            else:
                pairs = zip(views.read(loader, left, done.epoch), read_companions(wanted, views, loader), strict=True)
            for number, ((batch, images), companion) in enumerate(pairs, first):
                streams.begin(number)
                step = number - first
                watched.update(batch, images, done.epoch, places[step], rates[step], companion)
                bar.advance()
                if checkpoint and number + 1 < len(batches) and checkpoint.due():
                    watched.check()
                    for observer in observers:
                        observer.flush()
                    spent = {"batches": number + 1, "seconds": time.perf_counter() - started}
                    save(checkpoint, spent | watched.sums(), watched.tensors())
            watched.check()
            with average.shown() if average and observers else nullcontext():
                for observer in observers:
                    observer.end_epoch(done.epoch, model)
            numbers = watched.means(done.epoch)
            if pruning:
                pruning.end()
            done.epoch += 1
            done.step += planned
            done.samples_seen += watched.seen
            done.samples_again += watched.again
            done.samples_forward += watched.forward_only
            done.steps_skipped += planned - len(batches)
            done.samples_skipped += sum(sizes[:planned]) - watched.seen
            bar.advance(planned - len(batches))
            seconds = time.perf_counter() - started
            done.seconds += seconds
            done.history.append({**numbers, "step": done.updates, "seconds": round(seconds, 3)})
            if on_epoch:
                on_epoch(done.history)
            stop = checkpoint is not None and limit is not None and done.epoch < epochs and limit.over(seconds)
            if checkpoint and done.epoch < epochs and (stop or checkpoint.due()):
                save(checkpoint, {}, {})
            if stop:
                raise TimeIsUp(f"{label}: stopped after epoch {done.epoch} of {epochs}; the same command goes on from there")
    if leave:
        leave.save(model, optimizer, asdict(done), more())
    if average:
        average.settle()
    return done
