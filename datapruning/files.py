"""Files that are whole or not there: atomic writes, and reads that check before they trust. No pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import tomllib
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.arrays import BROKEN, ordinary, read_members
from datapruning.arrays import Array as Array
from datapruning.disk import room_for, written_to
from datapruning.disk import size_text as size_text
from datapruning.errors import BadFile, reason
from datapruning.hashing import digest

CHECKSUM = "checksum"
"""The key under which JSON files, and the `meta` of arrays, carry the digest of all else. Old files have none."""
SIGNED = f"# {CHECKSUM} "
LONGEST_TOML = 2**20
LONGEST_JSON = 256 * 2**20
DEEPEST_JSON = 64
LONGEST_NUMBER = 20
"""Digits of what fits in 64 bits, and a sign."""


@contextmanager
def written_whole(path: Path, need: float | None = None) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it to disk and rename it, on any exception remove it.

    A reader of `path` sees the old file or the new one, never half of one. `need`: its size in bytes, for the message.

    Raises:
        NoRoom: the disk is full. BadFile: the folder cannot be written.
    """
    with written_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with room_for(path, need):
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


def read_text(path: Path, longest: int) -> str:
    """The text of a UTF-8 file of at most `longest` bytes; a byte order mark is left out.

    Raises:
        OSError: it is not there, or cannot be read. ValueError: no ordinary file, larger, or no UTF-8.
    """
    with ordinary(path) as (file, size):
        if size > longest:
            raise ValueError(f"it has {size_text(size)}, and such a file has {size_text(longest)} at most")
        return file.read(size).decode("utf-8-sig")


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: no TOML, or nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def with_checksum(text: str) -> str:
    """A text with its checksum in a comment before it, for formats in which # begins one."""
    return f"{SIGNED}{_text_checksum(text)}\n{text}"


def check_text(path: Path, text: str) -> None:
    """Refuse a text that was changed since `with_checksum`; one without a checksum is taken as it is.

    Raises:
        BadFile: it was changed.
    """
    before, found, after = text.partition(SIGNED)
    expected, _, content = after.partition("\n")
    if found and _text_checksum(before + content) != expected:
        raise BadFile(
            f"{path} was changed since it was written: its content has another {CHECKSUM}. Make it again, or, where you "
            "changed it on purpose, take out its first line"
        )


def _text_checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all; an object with its checksum. NaN is refused: JSON has none."""
    text = json.dumps(value, indent=2, allow_nan=False)
    if isinstance(value, Mapping):
        there = json.loads(text)  # as it reads back: a tuple is a list, a key text
        text = json.dumps({**there, CHECKSUM: digest(there, 32)}, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, *, checked: bool = True) -> dict[str, Any]:
    """Read a JSON object. Its checksum is left out.

    Args:
        path: the file.
        checked: whether it must have the content that it was written with, if it carries a checksum.

    Raises:
        BadFile: missing, unreadable, changed, or not an object.
    """
    try:
        value = parse_json(read_text(path, LONGEST_JSON))
    except FileNotFoundError:
        raise BadFile(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} cannot be read as JSON: {reason(error)}") from None
    if not isinstance(value, dict):
        raise BadFile(f"{path} holds no JSON object")
    expected = value.pop(CHECKSUM, None)
    if checked and expected is not None and digest(value, 32) != expected:
        raise BadFile(
            f"{path} was changed since it was written: its content has another {CHECKSUM}. Make it again, or, where you "
            f'changed it on purpose, take out "{CHECKSUM}"'
        )
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no JSON, numbers that are not finite, a key that comes twice, or nested too deeply.
    """
    too_deep = ValueError("it is nested too deeply")
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole, object_pairs_hook=_without_doubles
        )
    except RecursionError:
        raise too_deep from None
    if _deeper(value, DEEPEST_JSON):
        raise too_deep
    return value


def _deeper(value: Any, most: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return most == 0 or any(_deeper(each, most - 1) for each in (value.values() if isinstance(value, dict) else value))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"{text[:40]}... is too large a number")
    return int(text)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice in an object")
    return found


def write_npz(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write arrays and a JSON `meta` text, with checksums of each, as one `.npz` that numpy alone can open."""
    there = json.loads(json.dumps(meta, allow_nan=False))
    text = np.array(json.dumps({**there, CHECKSUM: _checksums(arrays, there)}, sort_keys=True))
    with written_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in {**arrays, "meta": text}.items():  # np.savez, which before numpy 2.1 cannot be kept from pickling
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _checksums(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> dict[str, str]:
    each = {name: _checksum(array) for name, array in sorted(arrays.items())}
    return {**each, "meta": digest({"meta": meta, "arrays": each}, 32)}


def _checksum(array: Array) -> str:
    state = hashlib.sha256(f"{array.dtype.str} {list(array.shape)}".encode())
    state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return state.hexdigest()[:32]


def _as_written(arrays: Mapping[str, Array], meta: Mapping[str, Any], names: Collection[str] | None, said: Any) -> bool:
    """Whether arrays (those that were read) and meta are those that the checksums were made of."""
    if not isinstance(said, dict):
        return False
    each = {name: value for name, value in said.items() if name != "meta"}
    if said.get("meta") != digest({"meta": meta, "arrays": each}, 32):
        return False
    wanted = [name for name in each if names is None or name in names]
    return set(wanted) == set(arrays) and all(_checksum(arrays[name]) == each[name] for name in wanted)


def read_npz(path: Path, what: str, names: Collection[str] | None = None) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read (arrays, meta) of a file that `write_npz` wrote.

    Args:
        path: the file.
        what: names its kind in messages.
        names: of all the arrays that such a file may have; others are left unread. None: whatever there is.

    Raises:
        BadFile: missing, truncated, no `.npz`, a bomb, needing pickle, without a JSON `meta`, or changed since.
    """
    arrays, meta = _members(path, what, names and {*names, "meta"})
    said = meta.pop(CHECKSUM, None)
    if said is not None and not _as_written(arrays, meta, names, said):
        raise BadFile(f"{path} was changed since it was written: its content has another {CHECKSUM}; make it again")
    return arrays, meta


def read_meta(path: Path, what: str) -> dict[str, Any]:
    """The `meta` alone of a file that `write_npz` wrote, to see of which kind it is; nothing else is checked.

    Raises:
        BadFile: as `read_npz`.
    """
    meta = _members(path, what, {"meta"})[1]
    meta.pop(CHECKSUM, None)
    return meta


def _members(path: Path, what: str, names: Collection[str] | None) -> tuple[dict[str, Array], dict[str, Any]]:
    if path.is_dir():
        raise BadFile(f"{path} is a folder; {what} file (.npz) is needed here")
    try:
        arrays = read_members(path, names)
    except FileNotFoundError:
        raise BadFile(f"{path} is not there; {what} file is needed here") from None
    except BROKEN as error:
        raise BadFile(f"{path} is not {what} file, or it is truncated: {reason(error)}") from None
    text = arrays.pop("meta", None)
    try:
        meta = parse_json(str(text[()])) if text is not None and text.shape == () and text.dtype.kind == "U" else None
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        raise BadFile(f"{path} is not {what} file: it has no readable 'meta' text")
    return arrays, meta
