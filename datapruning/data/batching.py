"""Which samples go into which batch: a pure function of (ids, seed, epoch), whatever the loader."""

import numpy as np
from numpy.typing import NDArray

from datapruning.utils.hashing import hash_permutation

ORDER_KEY = 0x0D3
MIN_BATCH_SIZE = 2
"""Samples in the smallest batch: batch norm cannot normalise a single one."""
SMALL_BATCHES = 4
"""A last batch of fewer than so many times `MIN_BATCH_SIZE` samples would spoil the running statistics of batch norm."""
EVAL_BATCH_SIZE = 512
"""Rows of every evaluation batch: one padded shape, because other shapes give other float32 bits."""


def batch_sizes(count: int, batch_size: int, min_size: int = MIN_BATCH_SIZE) -> list[int]:
    """Sizes of one epoch's batches: all full but the last, or the last two, which are as large as each other.

    The last two share their samples where the last one would have fewer than 8 (4 `min_size`) and fewer than half of a
    batch. Where each would then have fewer than `min_size`, they are one batch.
    """
    full, remainder = divmod(count, batch_size)
    sizes = [batch_size] * full + ([remainder] if remainder else [])
    if len(sizes) > 1 and 0 < remainder < max(min_size, min(SMALL_BATCHES * min_size, batch_size // 2)):
        both = batch_size + remainder
        sizes[-2:] = [both - both // 2, both // 2] if both // 2 >= min_size else [both]
    return sizes


def training_batches(
    ids: NDArray[np.int64], batch_size: int, seed: int, epoch: int, min_size: int = MIN_BATCH_SIZE
) -> list[NDArray[np.int64]]:
    """The batches of one epoch: every id once, in an order of this seed and epoch."""
    order = hash_permutation(ids, ORDER_KEY, seed, epoch)
    cuts = np.cumsum(batch_sizes(len(ids), batch_size, min_size))[:-1]
    return np.split(order, cuts)


def evaluation_batches(ids: NDArray[np.int64], rows: int = EVAL_BATCH_SIZE) -> list[NDArray[np.int64]]:
    """Batches of exactly `rows` ids, in order; the last is padded with its own first id. Use the first len(ids) rows."""
    if not ids.size:
        return []
    missing = -len(ids) % rows
    padded = np.concatenate([ids, np.full(missing, ids[-1 - (len(ids) - 1) % rows])])
    return np.split(padded, len(padded) // rows)
