"""The processes of one run: torchrun starts several, and each runs the same program.

Process 0 alone writes files and prints. A file changes only where all processes meet: the others wait until it is written,
so each of them finds the same files at the same point of the program, and takes the same decisions. With one process all
of this does nothing. Collective work on tensors is in `training.distributed`.
"""

import functools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

from datapruning.errors import DataPruningError, DiskFull, InvalidFile, first_line
from datapruning.utils.hashing import config_hash

P = ParamSpec("P")
T = TypeVar("T")


class Processes(Protocol):
    """The processes, as one of them, number `rank` of `size`, sees them. Every method is called by all, at the same time."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def gather_numbers(self, number: int) -> list[int]:
        """The int64 of every process; returns when all have called."""
        ...

    def broadcast_bytes(self, content: bytes) -> bytes:
        """What process 0 gives, in all of them."""
        ...

    def await_other_errors(self) -> None:
        """Wait before an error is reported: if another process reports one, this one ends here (not called by all)."""
        ...


_PROCESSES: ContextVar[Processes | None] = ContextVar("processes", default=None)
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)
SHARED_ERRORS = {error.__name__: error for error in (DiskFull, InvalidFile)}
"""What writing a file raises; in the processes that waited for it, too."""


def set_processes(processes: Processes | None) -> None:
    """Set the processes of this run; None: there is one."""
    _PROCESSES.set(processes)


def rank() -> int:
    """The number of this process, from 0."""
    processes = _PROCESSES.get()
    return processes.rank if processes else 0


def num_processes() -> int:
    """How many processes run this program together."""
    processes = _PROCESSES.get()
    return processes.size if processes else 1


def is_main() -> bool:
    """Whether this is process 0, which writes and prints."""
    return rank() == 0


def meet(point: str) -> None:
    """Wait for all processes at this point of the program.

    Raises:
        DataPruningError: another process is at another point: files were changed from outside, and they decided differently.
    """
    processes = _PROCESSES.get()
    if processes is None or _ALONE.get():
        return
    numbers = processes.gather_numbers(int(config_hash({"point": point}, 15), 16))
    if len(set(numbers)) > 1:
        raise DataPruningError(f"the processes of this run are at different points ({point}); give the same command again")


def agree(value: T) -> T:
    """The value of process 0, plain data, in all processes: for decisions by the clock, or by files that others write."""
    processes = _PROCESSES.get()
    if processes is None or _ALONE.get():
        return value
    agreed: T = json.loads(processes.broadcast_bytes(json.dumps(value).encode()))
    return agreed


@contextmanager
def alone() -> Iterator[None]:
    """While open, this process meets no other: for what process 0 does by itself."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def main_only(write: Callable[P, None]) -> Callable[P, None]:
    """Have a function that changes files run in process 0 alone; all processes meet before it, and wait for its end.

    Raises:
        DiskFull, InvalidFile: in all processes. DataPruningError: in the others, for any other error of process 0.
    """

    @functools.wraps(write)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        if num_processes() == 1 or _ALONE.get():
            return write(*args, **kwargs)
        meet(write.__qualname__)
        error: Exception | None = None
        if is_main():
            with alone():
                try:
                    write(*args, **kwargs)
                except Exception as raised:
                    error = raised
        failure = agree(None if error is None else [type(error).__name__, first_line(error)])
        if error is not None:
            raise error
        if failure is not None:
            raise SHARED_ERRORS.get(failure[0], DataPruningError)(failure[1])
        return None

    return call


def write_by_main(items: Iterable[T], write: Callable[[Iterable[T]], None]) -> None:
    """Have process 0 write what all processes compute together, such as the outputs of an evaluation pass."""
    if is_main():
        with alone():
            write(items)
    else:
        deque(items, maxlen=0)
    meet("written")


@contextmanager
def main_first() -> Iterator[None]:
    """Process 0 runs the block, then the others do: for libraries that would write the same files in each."""
    if not is_main():
        agree(None)
    with alone():
        yield
    if is_main():
        agree(None)


def error_prefix(code: int) -> str:
    """What this process's error line, with this exit code, begins with; the process ends here if another one reports it."""
    processes = _PROCESSES.get()
    if processes is None:
        return ""
    processes.await_other_errors()
    return "" if processes.rank == 0 and code != 1 else f"process {processes.rank} of {processes.size}: "
