"""Loaders: batches of raw uint8 images, labels and ids, in exactly the order asked for.

Both loaders answer the same call with the same bits: `read(batches)`, where each batch is an array of sample ids. Order,
batch size and padding are decided by the caller (`order.py`), augmentation by the views; a loader only decodes and
gathers. `open_loader` chooses between them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.dataset import Dataset
from datapruning.data.resident import ResidentLoader
from datapruning.errors import BadValue, LoaderError, UnknownName

LOADERS = ("auto", "ffcv", "resident")


class Batch(NamedTuple):
    """`images` uint8 [n, height, width, channels] and `labels` int64 [n] on the device, `ids` int64 [n] on the host.

    The tensors are the caller's own: later batches do not change them.
    """

    images: Tensor
    labels: Tensor
    ids: NDArray[np.int64]


class Loader(Protocol):
    """Reads one split."""

    @property
    def kind(self) -> str:
        """Its name: "ffcv" or "resident"."""
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


def checked_batches(batches: Sequence[NDArray[np.int64]], total: int) -> list[NDArray[np.int64]]:
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


def resolve_device(name: str) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:1" into a device that is there.

    Raises:
        BadValue: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadValue(f"device '{name}' is none of auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadValue("device 'cuda' was asked for, but torch finds no GPU here; use --device cpu")
    return device


def resolve_loader(name: str, dataset: Dataset, device: torch.device) -> str:
    """Turn "auto" into "ffcv" wherever it is installed, except on a GPU whose free memory holds the data four times over.

    Raises:
        UnknownName: no such loader.
    """
    if name not in LOADERS:
        raise UnknownName("loader", name, LOADERS)
    if name != "auto":
        return name
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if free > 4 * (dataset.train.images.nbytes + dataset.test.images.nbytes):
            return "resident"
    return "ffcv" if importlib.util.find_spec("ffcv") else "resident"


def open_loader(dataset: Dataset, role: str, kind: str, device: torch.device, cache_root: Path) -> Loader:
    """The loader of the split `role` ("train" or "test"); FFCV's writes the cache first if it is not there."""
    if kind == "resident":
        return ResidentLoader(dataset.split(role), device)
    from datapruning.data.cache import ensure_cache
    from datapruning.data.ffcv_loader import FFCVLoader

    return FFCVLoader(ensure_cache(dataset, role, cache_root), dataset.split(role).labels, device)
