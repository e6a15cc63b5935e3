"""Learning-rate schedules: pure functions of the share of the steps that are done, from 0 to 1."""

import math
from bisect import bisect_left
from functools import cache
from itertools import accumulate

from datapruning.config.training import TrainConfig
from datapruning.models.flops import forward_flops
from datapruning.training.distributed.sharding import global_batch_sizes
from datapruning.utils.cost import passes_flops


def learning_rate(training: TrainConfig, step: int, steps: int) -> float:
    """The rate for update `step` of `steps` (counted from 0).

    "one-cycle" rises linearly for the share `warmup` of the steps and falls linearly to 0 (Smith and Topin 2018, without
    the cycling of the momentum); "cosine" rises likewise and falls on half a cosine (Loshchilov and Hutter 2017); "step"
    rises likewise, stays, and is multiplied by `gamma` at each of the `milestones`, shares of the steps (He et al. 2016).
    """
    position = (step + 0.5) / steps  # the middle of the update: neither the first nor the last has rate 0
    is_step, peak, warmup = training.schedule == "step", training.lr, training.warmup
    decay = training.gamma ** sum(position >= share for share in training.milestones) if is_step else 1.0
    if position < warmup:
        return peak * position / warmup * decay
    remaining = (1 - position) / (1 - warmup) if warmup < 1 else 1.0
    if is_step:
        return peak * decay
    if training.schedule == "cosine":
        return peak * (1 - math.cos(math.pi * remaining)) / 2
    return peak * remaining


def planned_steps(training: TrainConfig, kept: int, total: int) -> int:
    """Steps of a run: `epochs` passes over what is kept or, under the budget "steps", over the full dataset.

    Under the budget "samples": passes over what is kept, the last one partial, until so many samples are seen.
    """
    if training.budget == "samples":
        samples = training.epochs * total if training.samples == "full" else training.samples
        sizes = global_batch_sizes(kept, training)
        passes, rest = divmod(samples, kept)
        seen = list(accumulate(sizes, initial=0))  # after each step of a pass, whose last two batches may be smaller
        return passes * len(sizes) + bisect_left(seen, rest)
    passes_over = total if training.budget == "steps" else kept
    return training.epochs * len(global_batch_sizes(passes_over, training))


def planned_epochs(training: TrainConfig, kept: int, total: int) -> int:
    """Passes over the kept samples that the run makes; the last one may be partial."""
    return math.ceil(planned_steps(training, kept, total) / len(global_batch_sizes(kept, training)))


@cache
def planned_samples(training: TrainConfig, kept: int, total: int) -> int:
    """Samples that one student sees (with repeats), the search for its KD weight not counted."""
    sizes = global_batch_sizes(kept, training)
    passes, rest = divmod(planned_steps(training, kept, total), len(sizes))
    return passes * kept + sum(sizes[:rest])


def share_of_small_images(training: TrainConfig, kept: int, total: int) -> float:
    """The share of that training's samples that are scaled to a smaller size (`progressive_size`)."""
    if not training.progressive_size:
        return 0.0
    steps_per_epoch = len(global_batch_sizes(kept, training))
    epochs = math.ceil(training.progressive_until * planned_steps(training, kept, total) / steps_per_epoch)
    return min(1.0, epochs * kept / planned_samples(training, kept, total))


def planned_flops(training: TrainConfig, kept: int, total: int, shape: tuple[int, int, int], classes: int) -> int:
    """Floating-point operations of that training on images of (height, width, channels), the smaller ones included."""
    samples, name, side, flops = planned_samples(training, kept, total), training.model, training.progressive_size, 0
    if side:
        small = round(samples * share_of_small_images(training, kept, total))
        flops, samples = passes_flops(forward_flops(name, (side, side, shape[2]), classes), small), samples - small
    return flops + passes_flops(forward_flops(name, shape, classes), samples)
