"""Which rows of a batch each process takes: every row in exactly one part, and no padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datapruning.config.training import TrainConfig
from datapruning.data.batching import batch_sizes

MIN_ROWS_PER_PROCESS = 2
"""Rows of the smallest part: batch norm has nothing to normalise in one."""


def is_sharded(size: int, processes: int) -> bool:
    """Whether so many rows are dealt at all. Fewer go through every process whole, and those of process 0 count."""
    return size >= MIN_ROWS_PER_PROCESS * processes


def shard_slices(size: int, processes: int) -> list[slice]:
    """The rows of each process, in order: runs of rows whose lengths differ by one at most."""
    if not is_sharded(size, processes):
        return [slice(0, size)] * processes
    return [slice(size * k // processes, size * (k + 1) // processes) for k in range(processes)]


def local_rows(size: int, processes: int, process: int = 0) -> int:
    """How many of so many rows a process takes."""
    part = shard_slices(size, processes)[process]
    return int(part.stop - part.start)


def shard_rows(sizes: Sequence[int], processes: int, process: int) -> NDArray[np.int64]:
    """Rows, int64, that a process takes of pieces that lie one after the other; each piece is dealt by itself."""
    found, begin = [np.empty(0, np.int64)], 0
    for size in sizes:
        part = shard_slices(size, processes)[process]
        found.append(np.arange(begin + part.start, begin + part.stop))
        begin += size
    return np.concatenate(found)


def shard_weights(sizes: Sequence[int], processes: int, process: int) -> NDArray[np.float32]:
    """What the gradient of each row that a process takes is multiplied by, float32.

    DistributedDataParallel averages over processes where the sum is wanted, and of rows that every process has, those of
    process 0 count alone.
    """
    found = [np.empty(0, np.float32)]
    for size in sizes:
        weight = processes if process == 0 or is_sharded(size, processes) else 0
        found.append(np.full(local_rows(size, processes, process), weight, np.float32))
    return np.concatenate(found)


class Pass(NamedTuple):
    """A pass through the network: the sizes of the pieces in it, and whether a backward pass follows."""

    sizes: tuple[int, ...]
    needs_grad: bool


def passes_of(size: int, training: TrainConfig, companion: int | None, trains: bool) -> list[Pass]:
    """The passes of an update.

    Args:
        size: samples in its batch.
        training: says in how many parts a batch goes (see `micro_batches`).
        companion: pictures that come with it (self-distillation); None: none.
        trains: they go through the training pass, too; else through a forward pass of their own, after it.
    """
    if training.grad_accum_steps > 1:
        return [Pass((part,), needs_grad=True) for part in batch_sizes(size, training.batch_size)]
    if companion is None:
        return [Pass((size,), needs_grad=True)]
    if trains:
        return [Pass((size, companion), needs_grad=True)]
    return [Pass((size,), needs_grad=True), Pass((companion,), needs_grad=False)]
