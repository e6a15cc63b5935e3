"""Locks between processes: one does the work, the others wait and say so. A lock dies with the process that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from datapruning.progress import say


def lock_of(path: Path) -> FileLock:
    """The lock of `path`: a file beside it, held through the operating system, so that no stale one stops anybody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.parent / f".{path.name}.lock")


@contextmanager
def held(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock of `path`; say `waiting` once if another process has it."""
    lock = lock_of(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{waiting}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
