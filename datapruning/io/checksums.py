"""SHA-256 of files that are too large, or of a format too fixed, to carry a checksum: kept in a JSON file next to them.

A file is read to its end when it is first opened in a process, at about 1.5 GB/s. Of one that is larger than
`MAX_VERIFIED_BYTES`, the header and tables alone are checked.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from datapruning.errors import InvalidFile
from datapruning.io.atomic import remove_file
from datapruning.io.json import read_json, write_json

MAX_VERIFIED_BYTES = 2**30
SIDECAR_SUFFIX = ".sha256.json"


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: str, advice: str) -> None:
    """Refuse a file whose SHA-256 (hex) is not the `expected` one; `advice` is the remedy in the message.

    Raises:
        InvalidFile: it was changed since it was written. OSError: it cannot be read.
    """
    stat = path.stat()
    if stat.st_size <= MAX_VERIFIED_BYTES and _cached_digest(str(path), stat.st_size, stat.st_mtime_ns) != expected:
        raise InvalidFile(f"{path} was changed since it was written: its content has another checksum; {advice}")


@cache
def _cached_digest(path: str, size: int, mtime_ns: int) -> str:
    return file_digest(Path(path))


@contextmanager
def write_checksummed(path: Path) -> Iterator[None]:
    """Context in which a file is written: its SHA-256 is stored afterwards, that of an older file is removed before.

    The SHA-256 of a file larger than `MAX_VERIFIED_BYTES` is not stored.
    """
    remove_file(_sidecar(path))
    yield
    if path.stat().st_size <= MAX_VERIFIED_BYTES:
        write_json(_sidecar(path), {"sha256": file_digest(path)})


def verify_checksum(path: Path, advice: str, *, external: bool = False) -> None:
    """Refuse a file that was changed since `write_checksummed`; `advice` is the remedy in the message.

    An `external` file may have been written by another program, and then has no checksum.

    Raises:
        InvalidFile: it was changed, or its checksum is missing. OSError: it cannot be read.
    """
    if path.stat().st_size > MAX_VERIFIED_BYTES:
        return
    if not _sidecar(path).exists():
        if external:
            return
        raise InvalidFile(f"{path} has no checksum: {_sidecar(path).name} is missing; {advice}")
    check_digest(path, str(read_json(_sidecar(path)).get("sha256")), advice)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR_SUFFIX)
