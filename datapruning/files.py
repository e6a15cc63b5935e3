"""Files that are whole or not there: atomic writes, and reads that check before they trust. No pickle anywhere."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.errors import BadFile, reason

Array = np.ndarray[Any, np.dtype[Any]]
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
BROKEN = (OSError, ValueError, EOFError, LookupError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise on archives that were cut off or changed."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it to disk and rename it, on any exception remove it.

    A reader of `path` sees the old file or the new one, never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN is refused: JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadFile: missing, unreadable, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise BadFile(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadFile(f"{path} holds no JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def write_npz(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write arrays and a JSON `meta` text as one `.npz` that numpy alone can open."""
    text = np.array(json.dumps(meta, allow_nan=False, sort_keys=True))
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{**arrays, "meta": text})


def read_npz(path: Path, what: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read (arrays, meta) of a file that `write_npz` wrote; `what` names its kind in messages.

    Raises:
        BadFile: missing, truncated, no `.npz`, needing pickle, or without a JSON `meta`.
    """
    if path.is_dir():
        raise BadFile(f"{path} is a folder; {what} file (.npz) is needed here")
    try:
        with path.open("rb") as file:  # np.load leaves a broken file open if it opens it itself
            if file.read(4) not in ZIP_MAGIC:
                raise BadFile(f"{path} is not {what} file: it is no .npz archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise BadFile(f"{path} is not there; {what} file is needed here") from None
    except BROKEN as error:
        raise BadFile(f"{path} is not {what} file, or it is truncated: {reason(error)}") from None
    text = arrays.pop("meta", None)
    try:
        meta = json.loads(str(text))
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        raise BadFile(f"{path} is not {what} file: it has no readable 'meta' text")
    return arrays, meta


def size_text(count: float) -> str:
    """1234567 -> '1.2 MB'."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
