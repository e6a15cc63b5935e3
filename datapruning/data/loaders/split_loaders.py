"""Loaders of a split's own images, without FFCV: held in memory, or read in advance from the cache of decoded images."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.dataset import Split
from datapruning.data.loaders.loader import Batch, make_batches, samples_at_once, validate_batches
from datapruning.data.loaders.prefetch import prefetch
from datapruning.utils.upload import pinned, upload


class InMemoryLoader:
    """Gathers batches from a uint8 tensor on the device that holds every image: fastest where the data fits in memory."""

    kind = "memory"

    def __init__(self, split: Split, device: torch.device) -> None:
        images = np.require(split.images, requirements=["C", "W"])
        self.samples_at_once = samples_at_once(device, split.shape)
        self._images = torch.from_numpy(images).to(device)
        self._labels = torch.tensor(split.labels, device=device)

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        batches = validate_batches(batches, len(self))
        order = upload(np.concatenate([np.empty(0, np.int64), *batches]), self._images.device)  # once for all batches
        for ids, index in zip(batches, torch.split(order, [len(ids) for ids in batches]), strict=True):
            yield Batch(self._images.index_select(0, index), self._labels.index_select(0, index), ids)


class MmapLoader:
    """Reads batches in advance from a memory-mapped array, or from JPEG files that are decoded again for every batch.

    Nothing is copied, and memory does not grow with the data (see `datapruning.data.image_folder`).
    """

    kind = "mmap"

    def __init__(self, split: Split, device: torch.device) -> None:
        self._split, self._device = split, device
        self.samples_at_once = samples_at_once(device, split.shape)

    def __len__(self) -> int:
        return len(self._split)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        batches = validate_batches(batches, len(self))
        images, device = self._split.images, self._device
        with closing(prefetch(lambda ids: pinned(images[ids], device), batches, "decoded images")) as decoded:
            yield from make_batches(device, decoded, self._split.labels, batches)
