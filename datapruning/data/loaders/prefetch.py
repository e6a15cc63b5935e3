"""Reading ahead: threads read items in advance, and their results come in order. Their exception reaches the caller."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import LoaderError

BATCHES_AHEAD = 3
THREAD = "decoder"
Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int) -> Generator[Result]:
    """Yield `read(item)` of each item, in order, from `threads` threads that are at most `ahead` items in advance.

    The threads end with the iteration, however that ends. What `read` raises is raised in the place of its result.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, THREAD) as pool:
        try:
            for item in items:
                pending.append(pool.submit(read, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def prefetch(
    read: Callable[[NDArray[np.int64]], Result], batches: Sequence[NDArray[np.int64]], source: str
) -> Generator[Result]:
    """Yield `read(batch)` for each batch of ids, int64, in order, read in advance by one thread.

    Raises:
        LoaderError: from whatever `read` raised, naming `source`.
    """

    def read_batch(batch: NDArray[np.int64]) -> Result:
        try:
            return read(batch)
        except BaseException as error:  # even what would end the process: here it would end nothing but the thread
            raise LoaderError(f"reading {source} failed: {error!r}") from error

    return read_ahead(read_batch, batches, threads=1, ahead=BATCHES_AHEAD)
