"""The FFCV loader, which avoids the pitfalls of FFCV 1.0.2 (docs/ffcv.md lists them; each has a test).

Only FFCV's compiled decoder is used, which reads straight from a memory map. The iteration is not FFCV's: the order comes
from the caller, every batch has memory of its own, a worker's exception reaches the caller instead of leaving it waiting,
and torch's thread count stays as it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.loaders.beton import Beton
from datapruning.data.loaders.loader import Batch, make_batch, validate_batches
from datapruning.data.loaders.prefetch import prefetch
from datapruning.errors import InvalidFile, LoaderError


class FFCVLoader:
    """Reads a `.beton` that `write_beton` wrote (see `datapruning.data.loaders.loader.Loader`).

    Args:
        path: the file.
        labels: int64 labels of the whole split, by sample id.
        device: where batches go.
        ids: the sample ids in the file, sorted, where it holds a subset (`dprune cache --subset`); default: all.

    Raises:
        InvalidFile: no `.beton`, or one of another number of samples. MissingPackage: FFCV is not installed.
    """

    kind = "ffcv"

    def __init__(
        self, path: Path, labels: NDArray[np.int64], device: torch.device, ids: NDArray[np.int64] | None = None
    ) -> None:
        self._file = Beton(path)
        self._ids = ids
        self._labels = labels
        self._device = device
        expected = len(labels) if ids is None else len(ids)
        if len(self._file) != expected:
            raise InvalidFile(f"{path} holds {len(self._file):,} samples, {expected:,} are expected")

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """One `Batch` for each array of ids, in order."""
        batches = validate_batches(batches, len(self))
        if self._ids is not None:
            for ids in batches:
                self._positions(ids)
        decoded = prefetch(lambda ids: self._file.read(self._positions(ids)), batches, str(self._file.path))
        with closing(decoded):
            for ids, (images, stored_ids) in zip(batches, decoded, strict=True):
                if not np.array_equal(stored_ids, ids):
                    raise LoaderError(f"{self._file.path} is damaged: its sample ids are not in order")
                yield make_batch(self._device, images, self._labels, ids)

    def _positions(self, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
        if self._ids is None:
            return ids.astype(np.uint64)
        positions = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        missing = ids[self._ids[positions] != ids]
        if missing.size:
            raise LoaderError(f"sample id {missing[0]} is not in the compact cache {self._file.path}")
        return positions.astype(np.uint64)
