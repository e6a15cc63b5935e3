"""New `.npy` files that are written through memory maps."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.io.atomic import atomic_write
from datapruning.io.disk_space import preallocate


def create_memmap(path: Path, kind: Any, shape: tuple[int, ...], *, sparse: bool = False) -> np.memmap[Any, Any]:
    """A new `.npy` of zeros, opened as a memory map that can be written to.

    Args:
        path: the file; an older one is replaced.
        kind: numpy type of its numbers.
        shape: of the array.
        sparse: take no room on the disk before something is written; then never write through the map (`preallocate`).

    Raises:
        DiskFull: the disk is full.
    """
    kind = np.dtype(kind)
    with atomic_write(path, math.prod(shape) * kind.itemsize) as temporary, temporary.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, size = file.tell(), math.prod(shape) * kind.itemsize
        file.flush()
        if sparse:
            os.ftruncate(file.fileno(), start + size)
        else:
            preallocate(file.fileno(), start, size)
    return np.lib.format.open_memmap(path, "r+")
