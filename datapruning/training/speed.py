"""How long trainings will take on this machine, from a few measured steps of networks that are thrown away."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.config.training import TrainConfig
from datapruning.runs.context import Context
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distributed.sharding import global_batch_size
from datapruning.training.evaluate import predict
from datapruning.training.losses import CrossEntropy, DistillationLoss, Loss
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_samples, planned_steps, share_of_small_images
from datapruning.training.trainer import Trainer
from datapruning.utils.console import quiet
from datapruning.utils.cost import Speed
from datapruning.utils.processes import agree

FIRST_BATCHES, MORE_BATCHES, MAX_BATCHES = 2, 4, 128
"""Steps of the first measurement, which warms up, and how many times as many the next one has."""
ENOUGH_SECONDS, SLOW_SECONDS = 0.4, 6.0
"""A measurement of so long is enough; where the first one takes so long, its warming up does not matter."""
MAX_SHARE = 0.05
"""Of the work that is predicted, that a measurement may cost after its warming up, but for its least."""
NO_END = 10**9
EASY_SHARE = 0.6
"""Of samples whose loss is below the mean, of which InfoBatch skips its share: about so many."""


def training_seconds(context: Context, training: TrainConfig, kept: int, total: int, *, is_taught: bool = False) -> float:
    """Seconds of a training on `kept` of `total` samples with these settings, without evaluation and search.

    `is_taught`: with soft labels.
    """
    samples = planned_samples(training, kept, total)
    num_small = samples * share_of_small_images(training, kept, total)
    full_size, num_large = training.replace(progressive_size=0), samples - num_small
    seconds = num_large * measured_speed(context, full_size, is_taught=is_taught, num_samples=num_large).train
    if num_small:
        seconds += num_small * measured_speed(context, training, is_taught=is_taught, num_samples=num_small).train
    return seconds * (1 - EASY_SHARE * training.infobatch * training.infobatch_until)


def forward_seconds(context: Context, training: TrainConfig, count: int) -> float:
    """Seconds of an evaluation pass over `count` images, or of as many soft labels, by the network of these settings."""
    if not count:
        return 0.0
    return count * measured_speed(context, training.replace(progressive_size=0), num_samples=count).forward


def share_left(checkpoints: Iterable[Path], training: TrainConfig, kept: int, total: int) -> float:
    """The share of a training's steps that these checkpoints leave to be done; those that do not exist count nothing."""
    done = max((Checkpoint(path).state().step for path in checkpoints if agree(path.exists())), default=0)
    return max(0.0, 1 - done / planned_steps(training, kept, total))


def measured_speed(
    context: Context, training: TrainConfig, *, is_taught: bool = False, num_samples: float = NO_END
) -> Speed:
    """Seconds that a sample takes; measured at the first call for this network and kept in the context.

    The work that is predicted has `num_samples`: little work is measured briefly.

    Training steps are measured by the trainer itself, on the first samples of the dataset. Nothing of what is trained
    later depends on it. The compilation of a network is not measured.
    """
    config = training.replace(epochs=1, budget="epochs", samples="full", infobatch=0.0, compile=False)
    key = config, is_taught
    if key not in context.speeds:
        loss = DistillationLoss(_Zeros(context.data.classes), 0.5, 1.0) if is_taught else CrossEntropy()
        with reproducible(context.threads, training), quiet():
            num_batches = int(MAX_SHARE * num_samples / global_batch_size(config))
            context.speeds[key] = _measure(context, config, loss, max(FIRST_BATCHES, min(MAX_BATCHES, num_batches)))
    return context.speeds[key]


class _Zeros:
    """Soft labels that say nothing."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        """Logits float32 [1, n, classes]."""
        return torch.zeros(1, len(key[0]), self.classes)


def _measure(context: Context, config: TrainConfig, loss: Loss, max_batches: int) -> Speed:
    """Measure steps of up to `max_batches` batches."""
    ids, loader, views = context.data.valid_ids, context.loader("train"), context.views
    model = context.new_model(config.model, 0)

    def seconds_of(num_batches: int) -> tuple[float, int]:
        trainer = Trainer(
            model, loader, ids[: num_batches * global_batch_size(config)], views, config, loss, seed=0,
            num_steps=NO_END, description=f"measuring {config.model}",
        )  # fmt: skip
        state = trainer.fit(stop_epoch=1)
        return state.seconds, state.samples_seen

    num_batches, limit = FIRST_BATCHES, min(max_batches, math.ceil(len(ids) / global_batch_size(config)))
    seconds, samples = seconds_of(num_batches)
    is_enough = seconds >= SLOW_SECONDS and context.device.type == "cpu"
    while not agree(is_enough):
        num_batches = min(num_batches * MORE_BATCHES, limit)
        seconds, samples = seconds_of(num_batches)
        is_enough = seconds >= ENOUGH_SECONDS or num_batches >= limit
    evaluated = ids[: max(samples, 1)]
    started = time.perf_counter()
    for _, _, logits in predict(model, loader, evaluated, views, rows=min(len(evaluated), config.batch_size)):
        np.asarray(logits.cpu())  # waits for a GPU
    return Speed(seconds / samples, (time.perf_counter() - started) / len(evaluated))
