"""The FFCV loader, with the traps of FFCV 1.0.2 fenced (docs/ffcv.md lists them; each has a test).

FFCV's part is what it is best at: a compiled decoder that reads straight from a memory map. The iteration around it
is ours: the order comes from the caller, every batch has memory of its own, a worker's exception reaches the caller
instead of leaving it waiting, and torch's thread count stays as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Full, Queue

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.beton import Beton
from datapruning.data.loader import Batch, checked_batches
from datapruning.errors import BadFile, LoaderError

BATCHES_AHEAD = 3
POLL_SECONDS = 1.0

Decoded = tuple[NDArray[np.uint8], NDArray[np.int64]]


class FFCVLoader:
    """Reads a `.beton` that `write_beton` wrote (see `datapruning.data.loader.Loader`).

    Args:
        path: the file.
        labels: int64 labels of the whole split, by sample id.
        device: where batches go.
        ids: the sample ids in the file, sorted, where it holds a subset (`dprune cache --subset`); default: all.

    Raises:
        BadFile: no `.beton`, or one of another number of samples.
        MissingPackage: FFCV is not installed.
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
            raise BadFile(f"{path} holds {len(self._file):,} samples, {expected:,} are expected")

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """One `Batch` for each array of ids, in order."""
        batches = checked_batches(batches, len(self))
        if self._ids is not None:
            for ids in batches:
                self._positions(ids)
        worker = _Worker(lambda ids: self._file.read(self._positions(ids)), batches, str(self._file.path))
        worker.start()
        try:
            for ids, (images, found) in zip(batches, worker.results(), strict=True):
                if not np.array_equal(found, ids):
                    raise LoaderError(f"{self._file.path} is damaged: sample ids in it are not where they should be")
                pixels, labels = torch.from_numpy(images), torch.from_numpy(self._labels[ids])
                if self._device.type != "cpu":
                    pixels = pixels.to(self._device, non_blocking=True)
                    labels = labels.to(self._device, non_blocking=True)
                yield Batch(pixels, labels, ids)
        finally:
            worker.stop()

    def _positions(self, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
        if self._ids is None:
            return ids.astype(np.uint64)
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        absent = ids[self._ids[places] != ids]
        if absent.size:
            raise LoaderError(f"sample id {absent[0]} is not in the compact cache {self._file.path}")
        return places.astype(np.uint64)


class _Worker(threading.Thread):
    """Decodes given batches, a few ahead of the reader."""

    def __init__(
        self, decode: Callable[[NDArray[np.int64]], Decoded], batches: Sequence[NDArray[np.int64]], name: str
    ) -> None:
        super().__init__(daemon=True, name="ffcv-decoder")
        self._decode = decode
        self._batches = batches
        self._source = name
        self._queue: Queue[Decoded | None] = Queue(BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            for batch in self._batches:
                if not self._put(self._decode(batch)):
                    return
            self._put(None)
        except BaseException as error:  # whatever it is, the reader must hear of it
            self._error = error

    def _put(self, item: Decoded | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except Full:
                continue
        return False

    def results(self) -> Iterator[Decoded]:
        """What was decoded, in order; the worker's exception instead of waiting for a batch that never comes."""
        while True:
            try:
                item = self._queue.get(timeout=0.05 if self._error else POLL_SECONDS)
            except Empty:
                if self._error is not None:
                    raise LoaderError(f"reading {self._source} failed: {self._error!r}") from self._error
                if not self.is_alive() and self._queue.empty():
                    raise LoaderError(f"reading {self._source} ended early") from None
                continue
            if item is None:
                return
            yield item

    def stop(self) -> None:
        """End the thread; the file stays open."""
        self._stopped.set()
        self.join(timeout=10 * POLL_SECONDS)
