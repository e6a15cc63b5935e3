"""Reading ahead: a thread reads the given batches, a few in advance. Its exception reaches the caller."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import LoaderError

BATCHES_AHEAD = 3
POLL_SECONDS = 1.0
THREAD = "decoder"

Read = TypeVar("Read")


def prefetch(
    read: Callable[[NDArray[np.int64]], Read], batches: Sequence[NDArray[np.int64]], source: str
) -> Generator[Read]:
    """Yield `read(batch)` for each batch of ids, in order. The thread ends with the iteration, however that ends.

    Args:
        read: called in the thread.
        batches: int64 arrays.
        source: what is read, for messages.

    Raises:
        LoaderError: from whatever `read` raised.
    """
    worker = _Worker(read, batches, source)
    worker.start()
    try:
        yield from worker.results()
    finally:
        worker.stop()


class _Worker(threading.Thread, Generic[Read]):
    def __init__(self, read: Callable[[NDArray[np.int64]], Read], batches: Sequence[NDArray[np.int64]], source: str) -> None:
        super().__init__(daemon=True, name=THREAD)
        self._read = read
        self._batches = batches
        self._source = source
        self._queue: Queue[tuple[Read] | None] = Queue(BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            for batch in self._batches:
                if not self._put((self._read(batch),)):
                    return
            self._put(None)
        except BaseException as error:  # raised again where the results are read
            self._error = error

    def _put(self, item: tuple[Read] | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
                return True
            except Full:
                continue
        return False

    def results(self) -> Iterator[Read]:
        """The results in order; the worker's exception instead of waiting for a batch that never comes."""
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
            yield item[0]

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join(timeout=10 * POLL_SECONDS)
