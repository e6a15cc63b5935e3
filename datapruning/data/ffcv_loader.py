"""The FFCV loader, with the traps of FFCV 1.0.2 fenced (docs/ffcv.md lists them; each has a test).

FFCV's part is what it is best at: a compiled pipeline that decodes straight from a memory map. The iteration around it
is ours: the order comes from the caller, every batch is copied out of FFCV's reused buffers, a worker's exception
reaches the caller instead of leaving it waiting, and torch's thread count stays as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.cache import import_ffcv, torch_threads_kept
from datapruning.data.loader import Batch, check_batches
from datapruning.errors import BadFile, LoaderError

BATCHES_AHEAD = 3
POLL_SECONDS = 1.0


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
        ffcv = import_ffcv()
        pipelines = {
            "image": [ffcv.fields.ndarray.NDArrayDecoder()],
            "id": [ffcv.fields.basics.IntDecoder()],
            "label": None,
        }
        with torch_threads_kept():
            try:
                self._ffcv = ffcv.loader.Loader(
                    str(path), batch_size=1, num_workers=1, os_cache=True, pipelines=pipelines, drop_last=False, seed=0
                )
            except (OSError, AssertionError, ValueError, IndexError, KeyError) as error:
                raise BadFile(f"{path} is no whole .beton file ({error}); delete it to have it written again") from None
        manager = self._ffcv.memory_manager
        # Python dictionaries of every sample, which the memory-mapped reader never looks at
        manager.ptr_to_size = manager.sample_to_pages = manager.page_to_samples = None
        self._ids = ids
        self._labels = torch.tensor(labels)
        self._device = device
        expected = len(labels) if ids is None else len(ids)
        if self._ffcv.reader.num_samples != expected:
            raise BadFile(f"{path} holds {self._ffcv.reader.num_samples:,} samples, {expected:,} are expected")

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        """One `Batch` for each array of ids, in order."""
        check_batches(batches, len(self))
        positions = [self._positions(ids) for ids in batches]
        worker = _Decoder(self._ffcv, positions)
        worker.start()
        try:
            for ids, (images, found) in zip(batches, worker.results(), strict=True):
                if not np.array_equal(found, ids):
                    raise LoaderError(f"{self._ffcv.fname} is damaged: sample ids in it are not where they should be")
                labels = self._labels[torch.from_numpy(ids)]
                pixels = torch.from_numpy(images)
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
            raise LoaderError(f"sample id {absent[0]} is not in the compact cache {self._ffcv.fname}")
        return places.astype(np.uint64)


class _Decoder(threading.Thread):
    """Runs FFCV's compiled pipeline over given batches, a few ahead of the reader."""

    def __init__(self, loader: Any, batches: list[NDArray[np.uint64]]) -> None:
        super().__init__(daemon=True, name="ffcv-decoder")
        self._loader = loader
        self._batches = batches
        self._queue: Queue[tuple[NDArray[np.uint8], NDArray[np.int64]] | None] = Queue(BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        largest = max((len(b) for b in batches), default=1)
        self._memory = loader.graph.allocate_memory(largest, 1)

    def run(self) -> None:
        try:
            context = self._loader.memory_manager.schedule_epoch(self._batches)
            with context:
                for batch in self._batches:
                    if not self._put(self._decode(batch, context.state)):
                        return
            self._put(None)
        except BaseException as error:  # whatever it is, the reader must hear of it
            self._error = error

    def _decode(self, batch: NDArray[np.uint64], state: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        code, outputs = self._loader.code
        values: dict[str, Any] = {
            "batch_indices": batch,
            "storage_state": state,
            "metadata": self._loader.reader.metadata,
        }
        for prefix, kind in (("memory", "operation"), ("shared_memory", "shared")):
            for name, buffer in self._memory[kind].items():
                values[f"{prefix}_{name}"] = None if buffer is None else buffer[0][: len(batch)]
        for stage, names in code:
            for name, result in zip(names, stage(**values), strict=True):
                values[f"result_{name}"] = result
        images, ids = (values[f"result_{name}"] for name in outputs)
        return images.copy(), ids.reshape(-1).copy()  # FFCV's buffers are used again for the next batch

    def _put(self, item: tuple[NDArray[np.uint8], NDArray[np.int64]] | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except Full:
                continue
        return False

    def results(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """What was decoded, in order; the worker's exception instead of waiting for a batch that never comes."""
        while True:
            try:
                item = self._queue.get(timeout=0.05 if self._error else POLL_SECONDS)
            except Empty:
                if self._error is not None:
                    raise LoaderError(f"reading {self._loader.fname} failed: {self._error!r}") from self._error
                if not self.is_alive() and self._queue.empty():
                    raise LoaderError(f"reading {self._loader.fname} ended early") from None
                continue
            if item is None:
                return
            yield item

    def stop(self) -> None:
        """End the thread; the file stays open."""
        self._stopped.set()
        self.join(timeout=10 * POLL_SECONDS)
