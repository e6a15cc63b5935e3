"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datapruning.io.disk_space import report_disk_full, report_write_errors
from datapruning.utils.processes import main_only


@contextmanager
def atomic_write(path: Path, need: float | None = None) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success flush and rename it, on any exception remove it.

    A reader of `path` sees the old file or the new one, never half of one. `need`: its size in bytes, for the message.
    The file has the permissions of any new one, as the umask says. Where several processes run one program, process 0 alone
    calls it (`main_only`).

    Raises:
        DiskFull: the disk is full. InvalidFile: the folder cannot be written.
    """
    with report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        temporary.open("xb").close()
    try:
        with report_disk_full(path, need):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@main_only
def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@main_only
def remove_file(path: Path) -> None:
    """Delete a file, if it is there; what may not be deleted stays."""
    with suppress(FileNotFoundError, PermissionError):
        if path.exists():  # on a read-only file system, to delete what is not there is an error
            path.unlink()


@main_only
def remove_folder(path: Path) -> None:
    """Delete a folder with all that is in it, if it is there."""
    shutil.rmtree(path, ignore_errors=True)
