"""New `.npy` files that are written through memory maps."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.io.atomic import written_whole
from datapruning.io.disk_space import take_room


def new_map(path: Path, kind: Any, shape: tuple[int, ...], *, sparse: bool = False) -> np.memmap[Any, Any]:
    """A new `.npy` of zeros, opened as a memory map that can be written to.

    Args:
        path: the file; an older one is replaced.
        kind: numpy type of its numbers.
        shape: of the array.
        sparse: take no room on the disk before something is written; then never write through the map (`take_room`).

    Raises:
        DiskFull: the disk is full.
    """
    kind = np.dtype(kind)
    with written_whole(path, math.prod(shape) * kind.itemsize) as temporary, temporary.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start, size = file.tell(), math.prod(shape) * kind.itemsize
        file.flush()
        if sparse:
            os.ftruncate(file.fileno(), start + size)
        else:
            take_room(file.fileno(), start, size)
    return np.lib.format.open_memmap(path, "r+")
