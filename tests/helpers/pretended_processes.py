"""Processes that are threads of the test's own process, or none at all: for laws that need no second Python."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from datapruning.utils.processes import set_processes

T = TypeVar("T")


@dataclass
class Pretended:
    """One of several processes that never talks to the others."""

    rank: int
    size: int

    def gather_numbers(self, number: int) -> list[int]:
        """See `Processes`."""
        return [number] * self.size

    def broadcast_bytes(self, content: bytes) -> bytes:
        """See `Processes`."""
        return content

    def await_other_errors(self) -> None:
        """See `Processes`."""


@contextmanager
def pretended(rank: int, size: int) -> Iterator[None]:
    """While open, this process takes itself for one of several."""
    set_processes(Pretended(rank, size))
    try:
        yield
    finally:
        set_processes(None)


@dataclass
class Table:
    """What threads exchange."""

    size: int
    values: dict[int, Any] = field(default_factory=dict)
    barrier: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size, timeout=10)


@dataclass
class ThreadProcess:
    """One of several processes that are threads."""

    rank: int
    table: Table

    @property
    def size(self) -> int:
        """See `Processes`."""
        return self.table.size

    def gather_numbers(self, number: int) -> list[int]:
        """See `Processes`."""
        return list(self._exchange(number).values())

    def broadcast_bytes(self, content: bytes) -> bytes:
        """See `Processes`."""
        received: bytes = self._exchange(content)[0]
        return received

    def await_other_errors(self) -> None:
        """See `Processes`."""

    def _exchange(self, value: Any) -> dict[int, Any]:
        self.table.values[self.rank] = value
        self.table.barrier.wait()
        values = {rank: self.table.values[rank] for rank in range(self.size)}
        self.table.barrier.wait()
        return values


def in_processes(size: int, program: Callable[[int], T]) -> list[T | Exception]:
    """Run `program(rank)` in so many threads that are processes of one run; returns what each returned or raised."""
    table, results = Table(size), dict[int, T | Exception]()

    def run(rank: int) -> None:
        set_processes(ThreadProcess(rank, table))
        try:
            results[rank] = program(rank)
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(size)]
