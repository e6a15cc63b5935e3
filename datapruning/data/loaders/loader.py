"""Loaders: batches of raw uint8 images, labels and ids, in exactly the order asked for.

All loaders answer the same call with the same bits: `read(batches)`, where each batch is an array of sample ids. Order,
batch size and padding are decided by the caller (`data/batching.py`), augmentation by the views; a loader only decodes and
gathers. `factory.py` opens one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.errors import LoaderError


class MixedLabels(NamedTuple):
    """Of mixed pictures: `others` int64 [n], the partner's label, and `share` float32 [n], the part of the own one."""

    targets_b: Tensor
    lam: Tensor


class Batch(NamedTuple):
    """`images` uint8 [n, height, width, channels] and `labels` int64 [n] on the device, `ids` int64 [n] on the host.

    The tensors are the caller's own: later batches do not change them. `mixed` is there where views mix pictures.
    """

    images: Tensor
    labels: Tensor
    ids: NDArray[np.int64]
    mixed: MixedLabels | None = None


def make_batch(device: torch.device, images: NDArray[np.uint8], labels: NDArray[np.int64], ids: NDArray[np.int64]) -> Batch:
    """The batch of freshly read `images` [n, ...]; `labels` are those of the whole split."""
    pixels, wanted = torch.from_numpy(images), torch.from_numpy(labels[ids])
    if device.type != "cpu":
        pixels, wanted = pixels.to(device, non_blocking=True), wanted.to(device, non_blocking=True)
    return Batch(pixels, wanted, ids)


class Loader(Protocol):
    """Reads one split."""

    @property
    def kind(self) -> str:
        """Its name: "ffcv", "mmap" or "memory"."""
        ...

    def __len__(self) -> int:
        """The number of samples in the split."""
        ...

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """One `Batch` for each array of ids, in order; every sample asked for arrives, as often as it is asked for.

        Raises:
            LoaderError: an id out of range (before anything is read), or the worker's own exception.
        """
        ...


def validate_batches(batches: Sequence[NDArray[np.int64]], total: int) -> list[NDArray[np.int64]]:
    """The batches as plain int64 arrays; ids that are no ids of a split of `total` samples are refused before loading.

    Raises:
        LoaderError: naming the first id that is out of range, or the type of what are no ids (a boolean mask, floats).
    """
    for ids in batches:
        if not np.issubdtype(ids.dtype, np.integer):
            raise LoaderError(f"sample ids are whole numbers, got {ids.dtype} (np.flatnonzero(mask) makes ids of a mask)")
        outside = ids[(ids < 0) | (ids >= total)]
        if outside.size:
            raise LoaderError(f"sample id {outside[0]} is not in 0..{total - 1}")
    return [np.require(ids, np.int64, ["C", "W"]) for ids in batches]  # copies only what torch could not take
