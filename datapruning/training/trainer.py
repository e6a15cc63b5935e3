"""The one loop. Teachers, students, proxies and pilots are all trained here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datapruning.config.training import TrainConfig
from datapruning.data.augment.views import Views
from datapruning.data.batching import batch_sizes
from datapruning.data.loaders.loader import Loader
from datapruning.errors import InvalidValue, TimeLimitReached
from datapruning.training.callbacks import Observer
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distributed.dispatch import shared_training
from datapruning.training.fitting import Fitting
from datapruning.training.losses import Objective
from datapruning.training.optimizers import make_optimizer
from datapruning.training.reproducibility import compiled, model_device
from datapruning.training.rng import own_streams
from datapruning.training.schedules import planned_rate
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import Masks
from datapruning.training.state import Parts, Progress
from datapruning.utils.console import Bar
from datapruning.utils.device_errors import hardware
from datapruning.utils.time_limit import TimeLimit

if TYPE_CHECKING:
    pass


def fit(
    model: nn.Module,
    loader: Loader,
    ids: NDArray[np.int64],
    views: Views,
    training: TrainConfig,
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
    that one that was never stopped makes. torch's global random streams are as they were afterwards (see `rng.py`).

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
        InvalidValue: self-distillation and dynamic pruning.
        IncompatibleInputs: masks of another model, a checkpoint of other masks.
        InvalidFile: a checkpoint that is broken, or of another version of this package.
        TimeLimitReached: see `limit`. OutOfMemory, DeviceError: what was saved stays.
    """
    if distil and training.infobatch:
        raise InvalidValue("self-distillation and infobatch do not go together: switch one of them off")
    if distil and training.grad_accum_steps > 1:
        raise InvalidValue("self-distillation and train.grad_accum_steps do not go together: leave accumulate at 1")
    optimizer = make_optimizer(model, training)
    saved = next((found for c in (checkpoint, begin) if c and (found := c.load(model, optimizer))), None)
    state, extra = saved or ({}, {})
    done, parts = Progress.of(state), Parts.of(model, ids, training, seed, distil, masks, observers)
    if saved:
        parts.restore(extra)
    shared = shared_training(loader, model, optimizer, views, training, distil, masks, seed)
    forward = shared.network if shared else compiled(model) if training.compile else model
    rate = rate or partial(planned_rate, training, steps=steps)
    fitting = Fitting(
        model, forward, optimizer, loader, ids, views, training, objective,
        seed, steps, rate, parts, done, checkpoint, shared,
    )  # fmt: skip
    per_epoch = len(batch_sizes(len(ids), training.update_size))
    epochs = min(done.epoch + math.ceil((steps - done.step) / per_epoch), stop_after or steps)
    model.train()
    shown = Bar.shown(label, min(steps, done.step + (epochs - done.epoch) * per_epoch))
    guard = hardware(label, training.batch_size, training.grad_accum_steps)
    with guard, own_streams(model_device(model)), shared or nullcontext(), shown as bar:
        bar.advance(done.step)
        while done.epoch < epochs:
            seconds = fitting.epoch(bar, extra)
            extra = {}  # what was loaded is not held through the run
            if on_epoch:
                on_epoch(done.history)
            stop = checkpoint is not None and limit is not None and done.epoch < epochs and limit.over(seconds)
            if checkpoint and done.epoch < epochs and (stop or checkpoint.due()):
                fitting.save(checkpoint)
            if stop:
                raise TimeLimitReached(
                    f"{label}: stopped after epoch {done.epoch} of {epochs}; the same command goes on from there"
                )
    if leave:
        leave.save(model, optimizer, asdict(done), parts.tensors())
    if parts.average:
        parts.average.settle()
    return done
