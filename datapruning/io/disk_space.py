"""What a disk can refuse: room, and permission. Both end in one line that names the file, and leave nothing half-written."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datapruning.errors import DiskFull, InvalidFile, first_line
from datapruning.utils.processes import main_only

DISK_FULL_ERRNOS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file may not become so large here",
}
"""What says that there is no room."""
PERMISSION_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS)
NUMPY_SHORT_WRITE = "requested and"
"""What numpy says instead ("4096 requested and 512 written"), without a number of the error."""


def format_bytes(count: float) -> str:
    """1234567 -> '1.2 MB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def report_disk_full(path: Path, need: float | None = None) -> Iterator[None]:
    """Around the writing of `path`, of `need` bytes where that is known: a full disk becomes one line.

    Raises:
        DiskFull: the disk is full, or the quota is used up.
    """
    try:
        yield
    except Exception as error:
        what = disk_full_message(error)
        if what is None:
            raise
        size = "" if need is None else f", {format_bytes(need)} are needed"
        free = format_bytes(shutil.disk_usage(_nearest_existing_dir(path)).free)
        raise DiskFull(f"{path}: {what} ({free} free{size}); free some space, and the same command resumes") from error


def disk_full_message(error: BaseException) -> str | None:
    """Return the message for an exception of a full disk, or None for other exceptions."""
    if isinstance(error, OSError):
        message = DISK_FULL_ERRNOS.get(error.errno or 0)
        return (
            DISK_FULL_ERRNOS[errno.ENOSPC]
            if message is None and error.errno is None and NUMPY_SHORT_WRITE in str(error)
            else message
        )
    # safetensors has exceptions of its own: "... No space left on device (os error 28)"
    return next((what for code, what in DISK_FULL_ERRNOS.items() if f"(os error {code})" in str(error)), None)


def check_free_space(path: Path, need: float) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DiskFull: fewer than `need` bytes are free where `path` is to go.
    """
    free = shutil.disk_usage(_nearest_existing_dir(path)).free
    if need > free:
        raise DiskFull(
            f"{path}: {format_bytes(need)} are needed, {format_bytes(free)} are free; "
            "free some space, or use a workspace on another disk"
        )


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Translate errors of the first write to a folder into one line.

    Raises:
        InvalidFile: the folder is read-only, or somebody else's. DiskFull: the disk is full.
    """
    try:
        with report_disk_full(path):
            yield
    except OSError as error:
        if error.errno not in PERMISSION_ERRNOS:
            raise
        raise InvalidFile(
            f"{path} cannot be written ({error.strerror or first_line(error)}); name another output path or workspace "
            "(of a read-only workspace to reuse, finished work is used)"
        ) from None


def check_writable(path: str | Path) -> None:
    """Refuse a place that nothing can be written to, before long work is done for it. Leaves nothing there.

    Raises:
        InvalidFile: see `report_write_errors`.
    """
    path = Path(path)
    with (
        report_write_errors(path),
        tempfile.TemporaryFile(dir=_nearest_existing_dir(path if path.is_dir() else path.parent)),
    ):
        pass


def is_writable(path: Path) -> bool:
    """Whether files may be made at `path`, a folder that need not exist yet. Leaves nothing there."""
    try:
        check_writable(path)
    except InvalidFile:
        return False
    return True


def preallocate(descriptor: int, start: int, count: int) -> None:
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


@main_only
def remove_partial_files(path: Path) -> None:
    """Remove what processes that were killed left of `path` half-written. For who holds the lock of `path`."""
    for stale in path.parent.glob(f".{path.name}.*.part"):
        stale.unlink(missing_ok=True)


def _nearest_existing_dir(path: Path) -> Path:
    """The nearest folder that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
