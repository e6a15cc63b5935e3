"""The mmap loader: batches read in advance from the cache of decoded images, without a copy of them and without FFCV.

The images are a memory-mapped array, or JPEG files that are decoded again for every batch (see
`datapruning.data.image_folder`). Memory does not grow with the data.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.dataset import Split
from datapruning.data.loaders.loader import Batch, make_batch, validate_batches
from datapruning.data.loaders.prefetch import prefetch


class MmapLoader:
    """Reads a split's own images (see `datapruning.data.loaders.loader.Loader`)."""

    kind = "mmap"

    def __init__(self, split: Split, device: torch.device) -> None:
        self._split, self._device = split, device

    def __len__(self) -> int:
        return len(self._split)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """One `Batch` for each array of ids, in order."""
        batches = validate_batches(batches, len(self))
        images = self._split.images
        with closing(prefetch(lambda ids: images[ids], batches, "decoded images")) as decoded:
            for ids, pixels in zip(batches, decoded, strict=True):
                yield make_batch(self._device, pixels, self._split.labels, ids)
