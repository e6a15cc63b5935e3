"""Digests of files that are too large, or of a format too fixed, to carry a checksum inside: kept in a JSON beside them.

A file is read through when it is first opened in a process, at about 1.5 GB/s; one that is larger than
`MAX_VERIFIED_BYTES` is not, its header and tables alone are checked then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile
from datapruning.io.json import read_json, write_json

MAX_VERIFIED_BYTES = 2**30
SIDECAR_SUFFIX = ".sha256.json"


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_digest(path: Path, expected: Any, advice: str) -> None:
    """Refuse a file that has another digest than when it was written.

    Args:
        path: the file.
        expected: its digest then; None: not known, for it was written before there were any.
        advice: what to do, for the message.

    Raises:
        InvalidFile: it was changed. OSError: it cannot be read.
    """
    if expected is None:
        return
    about = path.stat()
    if about.st_size <= MAX_VERIFIED_BYTES and _digest_once(str(path), about.st_size, about.st_mtime_ns) != expected:
        raise InvalidFile(f"{path} was changed since it was written: its content has another checksum; {advice}")


@cache
def _digest_once(path: str, size: int, changed: int) -> str:
    return file_digest(Path(path))


@contextmanager
def write_checksummed(path: Path) -> Iterator[None]:
    """Around the writing of a file: what was noted of an older one is forgotten, then the digest of the new one is noted.

    Not of one that is larger than `MAX_VERIFIED_BYTES`.
    """
    _sidecar(path).unlink(missing_ok=True)
    yield
    if path.stat().st_size <= MAX_VERIFIED_BYTES:
        write_json(_sidecar(path), {"sha256": file_digest(path)})


def verify_checksum(path: Path, advice: str) -> None:
    """Refuse a file that was changed since it was sealed. One that never was is taken as it is.

    Raises:
        InvalidFile: see `check_digest`. OSError: it cannot be read.
    """
    if _sidecar(path).exists():
        check_digest(path, str(read_json(_sidecar(path)).get("sha256")), advice)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + SIDECAR_SUFFIX)
