"""Gradient accumulation: the batch of an update, cut into parts that go through the network one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from datapruning.config.training import TrainConfig
from datapruning.data.batching import batch_sizes
from datapruning.data.loaders.loader import Batch, MixedLabels


def split_batch(
    batch: Batch, images: Tensor, training: TrainConfig, own_rows: Callable[[int], int] | None = None
) -> Iterator[tuple[Batch, Tensor, float]]:
    """(part, its images, its share of the batch) for each part of at most `batch_size` samples, in order.

    A lone last sample joins the part before, because of batch norm. Without accumulation: the batch itself, and 1.
    Where several processes share a batch, `images` are those of this one alone, and `own_rows` says how many it has of a
    part of so many samples.
    """
    if training.grad_accum_steps == 1:
        yield batch, images, 1.0
        return
    begin, first, total = 0, 0, len(batch.ids)
    for size in batch_sizes(total, training.batch_size):
        rows = slice(begin, begin + size)
        mixed = MixedLabels(*(each[rows] for each in batch.mixed)) if batch.mixed else None
        own = slice(first, first + (own_rows(size) if own_rows else size))
        yield Batch(batch.images[own], batch.labels[rows], batch.ids[rows], mixed), images[own], size / total
        begin, first = begin + size, own.stop
