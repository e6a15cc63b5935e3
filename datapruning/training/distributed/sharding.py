"""Which rows of a batch each process takes: every row in exactly one shard, without padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datapruning.config.training import TrainConfig
from datapruning.data.batching import batch_sizes

MIN_ROWS_PER_PROCESS = 2
"""Rows of the smallest shard: batch norm has nothing to normalise in one."""


def is_sharded(size: int, processes: int) -> bool:
    """Whether so many rows are split. Fewer pass through every process as a whole, and those of process 0 count."""
    return size >= MIN_ROWS_PER_PROCESS * processes


def shard_slices(size: int, processes: int) -> list[slice]:
    """The rows of each process, in order: contiguous shards whose lengths differ by one at most."""
    if not is_sharded(size, processes):
        return [slice(0, size)] * processes
    return [slice(size * k // processes, size * (k + 1) // processes) for k in range(processes)]


def local_rows(size: int, processes: int, process: int = 0) -> int:
    """How many of so many rows a process takes."""
    shard = shard_slices(size, processes)[process]
    return int(shard.stop - shard.start)


def shard_rows(sizes: Sequence[int], processes: int, process: int) -> NDArray[np.int64]:
    """Rows, int64, that a process takes of consecutive micro-batches of these sizes; each micro-batch is split by itself."""
    rows, start = [np.empty(0, np.int64)], 0
    for size in sizes:
        shard = shard_slices(size, processes)[process]
        rows.append(np.arange(start + shard.start, start + shard.stop))
        start += size
    return np.concatenate(rows)


def shard_weights(sizes: Sequence[int], processes: int, process: int) -> NDArray[np.float32]:
    """Factors float32 of the gradients of the rows that a process takes.

    DistributedDataParallel averages over processes where a sum is needed, and of rows that every process has, those of
    process 0 alone count.
    """
    weights = [np.empty(0, np.float32)]
    for size in sizes:
        weight = processes if process == 0 or is_sharded(size, processes) else 0
        weights.append(np.full(local_rows(size, processes, process), weight, np.float32))
    return np.concatenate(weights)


class Pass(NamedTuple):
    """A pass through the network: the sizes of the micro-batches in it, and whether a backward pass follows."""

    sizes: tuple[int, ...]
    needs_grad: bool


def passes_of(size: int, training: TrainConfig, auxiliary_size: int | None, *, trains_on_auxiliary: bool) -> list[Pass]:
    """The passes of a training step on `size` samples, and on so many auxiliary ones (self-distillation; None: none).

    With `trains_on_auxiliary` they are part of the training pass; otherwise of a forward pass of their own, after it.
    """
    if training.grad_accum_steps > 1:
        return [Pass((part,), needs_grad=True) for part in batch_sizes(size, training.batch_size)]
    if auxiliary_size is None:
        return [Pass((size,), needs_grad=True)]
    if trains_on_auxiliary:
        return [Pass((size, auxiliary_size), needs_grad=True)]
    return [Pass((size,), needs_grad=True), Pass((auxiliary_size,), needs_grad=False)]
