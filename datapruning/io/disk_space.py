"""What a disk can refuse: room, and permission. Both end in one line that names the file, and leave nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datapruning.errors import DiskFull, InvalidFile, first_line

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file may not become so large here",
}
"""What says that there is no room."""
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
SHORT = "requested and"
"""What numpy says instead ("4096 requested and 512 written"), without a number of the error."""


def size_text(count: float) -> str:
    """1234567 -> '1.2 MB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def room_for(path: Path, need: float | None = None) -> Iterator[None]:
    """Around the writing of `path`, of `need` bytes where that is known: a full disk becomes one line.

    Raises:
        DiskFull: the disk is full, or the quota is used up.
    """
    try:
        yield
    except Exception as error:
        what = no_room(error)
        if what is None:
            raise
        size = "" if need is None else f", {size_text(need)} are needed"
        free = size_text(shutil.disk_usage(_there(path)).free)
        raise DiskFull(f"{path}: {what} ({free} free{size}); make room, and the same command goes on") from error


def no_room(error: BaseException) -> str | None:
    """What an exception says of a full disk, in words; None: it is about something else."""
    if isinstance(error, OSError):
        said = FULL.get(error.errno or 0)
        return FULL[errno.ENOSPC] if said is None and error.errno is None and SHORT in str(error) else said
    # safetensors has exceptions of its own: "... No space left on device (os error 28)"
    return next((what for code, what in FULL.items() if f"(os error {code})" in str(error)), None)


def check_room(path: Path, need: float, instead: str = "--workspace") -> None:
    """Refuse to begin what cannot end.

    Raises:
        DiskFull: fewer than `need` bytes are free where `path` is to go.
    """
    free = shutil.disk_usage(_there(path)).free
    if need > free:
        raise DiskFull(
            f"{path}: {size_text(need)} are needed, {size_text(free)} are free; make room, or name another {instead}"
        )


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Around the first touch of a place: where nothing may be written, one line says so.

    Raises:
        InvalidFile: the folder is read-only, or somebody else's. DiskFull: the disk is full.
    """
    try:
        with room_for(path):
            yield
    except OSError as error:
        if error.errno not in DENIED:
            raise
        raise InvalidFile(f"{path} cannot be written ({error.strerror or first_line(error)}); name another place") from None


def check_writable(path: str | Path) -> None:
    """Refuse a place that nothing can be written to, before long work is done for it. Leaves nothing there.

    Raises:
        InvalidFile: see `written_to`.
    """
    path = Path(path)
    with written_to(path), tempfile.TemporaryFile(dir=_there(path if path.is_dir() else path.parent)):
        pass


def take_room(descriptor: int, start: int, count: int) -> None:
    """Have `count` bytes of an open file from `start` on, now: zeros.

    Writing into a memory map of a file with holes kills the process (SIGBUS) where the disk is full. Where the system
    cannot take room beforehand (macOS), the holes stay.

    Raises:
        OSError: there is no room.
    """
    if not hasattr(os, "posix_fallocate"):
        os.ftruncate(descriptor, start + count)
    elif count:
        os.posix_fallocate(descriptor, start, count)


def remove_stale(path: Path) -> None:
    """Remove what processes that were killed left of `path` half-written. For who holds the lock of `path`."""
    for stale in path.parent.glob(f".{path.name}.*.part"):
        stale.unlink(missing_ok=True)


def _there(path: Path) -> Path:
    """The nearest folder that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.is_dir())
