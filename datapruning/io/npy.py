"""Checked reading of numpy's files: headers are compared with the file size before memory is allocated.

`np.load` believes headers: a file of 200 bytes can ask for terabytes, a zip member may be unpacked without its checksum
ever being looked at, and what lies behind the last number is not noticed. Here every byte of a file is accounted for.
Types are numbers, booleans and text; no pickle.
"""

import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from datapruning.io.disk_space import format_bytes
from datapruning.io.foreign_files import BEGINNING_BYTES, foreign_kind
from datapruning.io.regular_file import open_regular_file
from datapruning.utils.memory import available_memory

Array = np.ndarray[Any, np.dtype[Any]]
READ_ERRORS = (
    OSError, ValueError, EOFError, LookupError, RuntimeError, MemoryError, OverflowError, TypeError, struct.error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What files that were cut off or changed make their readers raise."""
MAGIC, ZIP_MAGIC = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")
MAX_HEADER_BYTES = 10_000
HEADER = re.compile(
    r"""\{\s*['"]descr['"]:\s*['"]([<>|=]?[biufcSU][1-9]\d{0,8})['"],\s*['"]fortran_order['"]:\s*(True|False),"""
    r"""\s*['"]shape['"]:\s*\(\s*((?:\d{1,18}\s*,\s*)*(?:\d{1,18})?)\s*\)\s*,?\s*\}\s*"""
)
"""The Python literal that numpy writes, and those who write its format. Not evaluated."""
CHUNK_BYTES = 1 << 24
MAX_DEFLATE_RATIO = 1032
"""Deflate makes nothing smaller than this share of itself."""


@dataclass(frozen=True)
class Header:
    """The header of a `.npy`; `start`: bytes before the numbers."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Of the numbers."""
        return prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """The header at the present place of a file.

    Raises:
        ValueError: there is none, or it asks for something else than plain numbers and text.
    """
    begin = file.read(8)
    if begin[:6] != MAGIC or len(begin) < 8:
        raise ValueError("it is no .npy array")
    width = {(1, 0): 2, (2, 0): 4, (3, 0): 4}.get((begin[6], begin[7]))
    if width is None:
        raise ValueError(f"it is a .npy of version {begin[6]}.{begin[7]}")
    length = int.from_bytes(file.read(width), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes")
    raw = file.read(length)
    match = HEADER.fullmatch(raw.decode("utf-8" if begin[6] == 3 else "latin1"))
    if len(raw) != length or match is None:
        if b"'descr': '|O'" in raw:
            raise ValueError(
                "it holds Python objects, which only pickle opens, and pickle is never opened: save it with a type"
            )
        raise ValueError("its header is cut off, or of no array of plain numbers or text (pickle is never opened)")
    try:
        dtype = np.dtype(match[1])
    except TypeError:
        raise ValueError(f"there is no type '{match[1]}'") from None
    shape = tuple(int(n) for n in match[3].split(",") if n.strip())
    return Header(dtype, shape, match[2] == "True", 8 + width + length)


def read_array(path: Path) -> Array:
    """A `.npy`, whole and nothing behind it.

    Raises:
        OSError, ValueError: missing, broken, or of another type than numbers, booleans and text.
    """
    with open_regular_file(path) as (file, size):
        header = read_header(file)
        _check_size(header, size)
        return _read_values(file, header)


def open_npy_memmap(path: Path, mode: str = "r") -> np.memmap[Any, Any]:
    """A `.npy` as a memory map; `mode` "r" or "r+".

    Raises:
        OSError, ValueError: as `read_array`.
    """
    with open_regular_file(path) as (file, size):
        header = read_header(file)
    _check_size(header, size)
    order: Any = "F" if header.fortran else "C"
    return np.memmap(path, header.dtype, mode, header.start, header.shape, order)  # type: ignore[call-overload, no-any-return]


def read_npz_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, Array]:
    """Read the arrays of a `.npz` by name; only those in `names` are read (None: all).

    Raises:
        OSError, ValueError, and others of `READ_ERRORS`: missing, broken, larger than the memory, or of other types.
    """
    with open_regular_file(path) as (file, size), open_checked_zip(file, size) as archive:
        arrays, num_bytes = {}, 0
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as member:  # here the name in the directory is compared with the member's own
                if info.filename == name or (names is not None and name not in names):
                    continue
                try:
                    header = read_header(member)
                except ValueError as error:
                    raise ValueError(f"its array '{name}': {error}") from None
                _check_size(header, info.file_size)
                num_bytes += header.nbytes
                check_memory(num_bytes)
                arrays[name] = _read_values(member, header)
                if member.read(1):
                    raise ValueError(f"'{name}' continues after its end")
        return arrays


@contextmanager
def open_checked_zip(file: IO[bytes], size: int) -> Iterator[zipfile.ZipFile]:
    """A zip archive of `size` bytes whose members cannot be larger than they should; nothing is unpacked yet.

    Raises:
        ValueError, and others of `READ_ERRORS`: no archive, two members of one name, or an impossible size.
    """
    head = file.read(BEGINNING_BYTES)
    if head[:4] not in ZIP_MAGIC:
        raise ValueError(f"it is {foreign_kind(head) or 'no .npz archive'}")
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len({info.filename for info in infos}) != len(infos):
            raise ValueError("two members have one name")
        for info in infos:
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("it is compressed in another way than numpy does")
            most = (
                info.compress_size
                if info.compress_type == zipfile.ZIP_STORED
                else MAX_DEFLATE_RATIO * info.compress_size + 64
            )
            if info.compress_size > size or info.file_size > most:
                raise ValueError(f"a member of {info.compress_size:,} bytes says that it unpacks to {info.file_size:,}")
        yield archive


def check_memory(num_bytes: int) -> None:
    """Refuse what the memory cannot hold: well-compressed data is a bomb there only.

    Raises:
        ValueError: so many bytes are not available.
    """
    available = available_memory()
    if num_bytes > available:
        raise ValueError(f"it unpacks to {format_bytes(num_bytes)}, and {format_bytes(available)} of memory are free")


def list_npz_arrays(path: Path) -> list[str]:
    """The names of the arrays of a `.npz`.

    Raises:
        As `read_npz_arrays`.
    """
    with open_regular_file(path) as (file, size), open_checked_zip(file, size) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def verify_zip(path: Path) -> None:
    """Check the sizes and checksums of a file of torch, which torch does not, if it is a zip archive (older ones are not).

    Raises:
        ValueError, and others of `READ_ERRORS`: a bomb, or a member that was changed.
    """
    if not zipfile.is_zipfile(path):
        return
    with open_regular_file(path) as (file, size), open_checked_zip(file, size) as archive:
        check_memory(sum(info.file_size for info in archive.infolist()))
        for info in archive.infolist():
            with archive.open(info) as member:
                while member.read(CHUNK_BYTES):
                    pass


def _check_size(header: Header, size: int) -> None:
    if header.start + header.nbytes != size:
        raise ValueError(
            f"its header says {header.dtype} {list(header.shape)}, {header.start + header.nbytes:,} bytes; it has {size:,}"
        )


def _read_values(file: IO[bytes], header: Header) -> Array:
    """The array behind a header whose size was checked."""
    raw = np.empty(header.nbytes, np.uint8)
    view, done = raw.data, 0
    while done < len(raw):
        part = file.read(min(CHUNK_BYTES, len(raw) - done))
        if not part:
            raise ValueError("it is cut off")
        view[done : done + len(part)] = part
        done += len(part)
    if header.dtype.kind == "b" and raw.size and raw.max() > 1:
        raise ValueError("a truth value in it is neither 0 nor 1")
    plain: Array = raw.view(header.dtype) if header.nbytes else np.empty(prod(header.shape), header.dtype)
    return plain.reshape(header.shape, order="F" if header.fortran else "C")
