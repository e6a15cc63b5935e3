"""Locks between programs: one works, the others wait with a message. A lock is released when its holder dies.

Where several processes run one program, process 0 holds the lock for all of them.

They are the operating system's own (flock), not the presence of a file: the files stay, and mean nothing while nobody
holds them. A file system without such locks is refused: what works without them there, locks that are files, would
outlive a process that was killed on another machine, and stop everybody.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from datapruning.errors import InvalidFile
from datapruning.io.disk_space import report_write_errors
from datapruning.utils.console import info
from datapruning.utils.processes import agree, alone, is_main, meet

UNSUPPORTED_LOCK_ERRNOS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def file_lock(path: Path) -> FileLock:
    """Return the lock of `path`: a file next to it, held through the operating system, so that stale files do not block.

    Raises:
        InvalidFile: the folder cannot be written.
    """
    with report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.parent / f".{path.name}.lock", fallback_to_soft=False)


@contextmanager
def exclusive_lock(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock of `path`; print `waiting` once if another process has it.

    Raises:
        InvalidFile: the folder cannot be written, or its file system has no locks.
    """
    lock = file_lock(path)
    if not try_acquire(lock, path):
        info(f"{waiting}; waiting for it")
        if is_main():
            lock.acquire()
        meet(f"lock {path}")
    try:
        yield
        meet(f"end of the lock {path}")
    finally:
        lock.release()


def try_acquire(lock: FileLock, path: Path) -> bool:
    """Take the lock of `path` if it is free. Returns whether it was.

    Raises:
        InvalidFile: see `exclusive_lock`.
    """
    meet(f"free lock {path}")
    with alone():
        acquired = is_main() and _acquire(lock, path)
    return agree(acquired)


def _acquire(lock: FileLock, path: Path) -> bool:
    try:
        with report_write_errors(path):
            lock.acquire(timeout=0)
    except Timeout:
        return False
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED_LOCK_ERRNOS:
            raise
        raise InvalidFile(
            f"{path.parent} lies on a file system without file locks (flock), which keep processes out of each other's "
            "way: mount it with them (docs/guarantees.md), or name another workspace or output path"
        ) from None
    return True
