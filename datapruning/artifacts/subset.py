"""Subsets: sorted, unique sample ids with the story of how they were chosen. `np.load(f)["indices"]` is all users need."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import DatasetIdentity, check_format, make_metadata
from datapruning.errors import InvalidFile, InvalidValue, first_line
from datapruning.io.npy import READ_ERRORS, Array, read_array
from datapruning.io.npz import read_npz, write_npz
from datapruning.io.text import read_text
from datapruning.utils.fraction import describe_kept

KIND = "datapruning.subset"
MAX_LIST_BYTES = 2**30
ID = re.compile(r"[+-]?[0-9]{1,18}")
"""A whole number that fits in 64 bits."""


@dataclass(frozen=True)
class Subset:
    """`indices` int64, sorted and unique; `meta` the story."""

    indices: NDArray[np.int64]
    meta: Mapping[str, Any]

    @property
    def total(self) -> int:
        """Size of the full training set."""
        return int(self.meta["total"])

    def __len__(self) -> int:
        return len(self.indices)

    def __str__(self) -> str:
        return describe_kept(len(self), self.total)

    def save(self, path: str | Path) -> Path:
        """Write `subset.npz`, whole or not at all."""
        write_npz(Path(path), {"indices": self.indices}, self.meta)
        return Path(path)


def validate_ids(ids: Array, total: int, where: str) -> NDArray[np.int64]:
    """`ids` as int64, in the order given, if every one is a whole number in 0..total-1 and none comes twice.

    Raises:
        InvalidValue: naming the first id that is wrong. Boolean masks are refused (np.flatnonzero(mask) makes ids of one).
    """
    if ids.ndim != 1 or ids.size == 0:
        raise InvalidValue(f"{where}: a flat list of at least one sample id is needed, got shape {list(ids.shape)}")
    if ids.dtype == np.bool_:
        raise InvalidValue(f"{where}: this is a boolean mask, not sample ids; np.flatnonzero(mask) makes ids of it")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InvalidValue(f"{where}: sample ids are whole numbers, these are {ids.dtype}")
    outside = ids[(ids < 0) | (ids >= total)]
    if outside.size:
        raise InvalidValue(f"{where}: id {outside[0]} is not in 0..{total - 1} ({outside.size:,} such ids)")
    result = ids.astype(np.int64)
    in_order = np.sort(result)
    doubled = in_order[1:][in_order[1:] == in_order[:-1]]
    if doubled.size:
        raise InvalidValue(f"{where}: id {doubled[0]} comes more than once ({doubled.size:,} such)")
    return result


def subset_from_ids(ids: Array, data: DatasetIdentity, source: str) -> Subset:
    """A subset of ids somebody chose elsewhere; `source` says where they come from.

    Raises:
        InvalidValue: ids out of range, doubled, or no whole numbers.
    """
    indices = np.sort(validate_ids(ids, data.total, source))
    meta = make_metadata(KIND, data, scorer="ids", source=source, fraction=len(indices) / data.total, kept=len(indices))
    return Subset(indices, meta)


def load_subset(path: str | Path) -> Subset:
    """Read and check a subset file.

    Raises:
        InvalidFile: missing, truncated, another kind or version, or with ids that cannot be right.
    """
    path = Path(path)
    arrays, meta = read_npz(path, "a subset", ("indices",))
    check_format(path, meta, KIND)
    if "indices" not in arrays or not isinstance(meta.get("scorer"), str):
        raise InvalidFile(f"{path} is not a subset file: 'indices' or the scorer's name is missing")
    try:
        indices = validate_ids(arrays["indices"], meta["total"], str(path))
    except InvalidValue as error:
        raise InvalidFile(str(error)) from None
    if not np.all(indices[1:] > indices[:-1]):
        raise InvalidFile(f"{path}: 'indices' is not sorted")
    return Subset(indices, meta)


def read_ids(path: str | Path) -> Array:
    """Plain ids: a `.npy`, or a text file with one id a line.

    Raises:
        InvalidFile: missing or unreadable, with the first line that is no whole number.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(f"{path} is not there; a .npy or a text file with one sample id a line is needed")
    if path.suffix == ".npy":
        try:
            return read_array(path)
        except READ_ERRORS as error:
            raise InvalidFile(f"{path} cannot be read as .npy: {first_line(error)}") from None
    ids = []
    try:
        lines = read_text(path, MAX_LIST_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read as text: {first_line(error)}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not ID.fullmatch(line.strip()):  # int() takes "1_000" and digits of any script
            raise InvalidFile(f"{path}, line {number}: {line.strip()[:40]!r} is no sample id")
        ids.append(int(line))
    return np.array(ids, np.int64)
