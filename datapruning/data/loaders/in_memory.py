"""The in-memory loader: the whole split as uint8 on the device. No FFCV needed; fastest where the data fits in memory."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.dataset import Split
from datapruning.data.loaders.loader import Batch, validate_batches


class InMemoryLoader:
    """Gathers batches from a tensor that holds every image (see `datapruning.data.loaders.loader.Loader`)."""

    kind = "memory"

    def __init__(self, split: Split, device: torch.device) -> None:
        images = np.require(split.images, requirements=["C", "W"])
        self._images = torch.from_numpy(images).to(device)
        self._labels = torch.tensor(split.labels, device=device)

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """One `Batch` for each array of ids, in order."""
        for ids in validate_batches(batches, len(self)):
            index = torch.from_numpy(ids).to(self._images.device, non_blocking=True)
            yield Batch(self._images.index_select(0, index), self._labels.index_select(0, index), ids)
