"""`.npy` files behind memory maps: new ones that are written through them, and old ones, checked when they are opened."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.errors import InvalidFile, first_line
from datapruning.io.atomic import atomic_write
from datapruning.io.disk_space import preallocate
from datapruning.io.npy import READ_ERRORS, open_npy_memmap
from datapruning.utils.processes import main_only


def create_memmap(path: Path, kind: Any, shape: tuple[int, ...], *, sparse: bool = False) -> np.memmap[Any, Any]:
    """A new `.npy` of zeros, opened as a memory map that can be written to; an older file is replaced.

    A `sparse` one takes no room on the disk before something is written; never write through its map (see `preallocate`).

    Raises:
        DiskFull: the disk is full.
    """
    _write_zeros(path, np.dtype(kind), shape, sparse=sparse)
    return np.lib.format.open_memmap(path, "r+")


@main_only
def _write_zeros(path: Path, kind: np.dtype[Any], shape: tuple[int, ...], *, sparse: bool) -> None:
    with atomic_write(path, math.prod(shape) * kind.itemsize) as temporary, temporary.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, size = file.tell(), math.prod(shape) * kind.itemsize
        file.flush()
        if sparse:
            os.ftruncate(file.fileno(), start + size)
        else:
            preallocate(file.fileno(), start, size)


def open_checked_memmap(
    path: Path, kind: Any, shape: tuple[int | str, ...], content: str, mode: str = "r", advice: str = ""
) -> np.memmap[Any, Any]:
    """An existing `.npy` as a memory map; `mode` is "r" or "r+".

    In `shape`, a word such as "width" stands for any length. `content` names what it holds in messages, `advice` says what
    to do.

    Raises:
        InvalidFile: missing, broken, or of another type or shape.
    """
    end = f"; {advice}" if advice else ""
    try:
        array = open_npy_memmap(path, mode)
    except READ_ERRORS as error:
        raise InvalidFile(f"{path} holds no whole array of {content}: {first_line(error)}{end}") from None
    expected = tuple(size if isinstance(size, int) else given for size, given in zip(shape, array.shape, strict=False))
    if array.dtype != kind or array.shape != expected or array.ndim != len(shape):
        needed = f"{np.dtype(kind)} [{', '.join(map(str, shape))}]"
        raise InvalidFile(f"{path} is {array.dtype} {list(array.shape)}; {needed} is needed{end}")
    return array
