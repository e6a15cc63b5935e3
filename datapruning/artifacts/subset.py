"""Subsets: sorted, unique sample ids with metadata on how they were chosen. `np.load(f)["indices"]` is all users need."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import DatasetIdentity, SubsetMetadata, common_fields, parse_metadata
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.io.npy import Array
from datapruning.io.npz import read_npz, write_npz
from datapruning.utils.fraction import describe_kept
from datapruning.utils.plural import plural


@dataclass(frozen=True)
class Subset:
    """A subset of the training set.

    Attributes:
        indices: int64 [kept], sample ids, sorted and unique.
        meta: how they were chosen.
    """

    indices: NDArray[np.int64]
    meta: SubsetMetadata

    @property
    def total(self) -> int:
        """Size of the full training set."""
        return self.meta.total

    def __len__(self) -> int:
        return len(self.indices)

    def __str__(self) -> str:
        return describe_kept(len(self), self.total)

    def save(self, path: str | Path) -> Path:
        """Write it as `.npz` with the arrays `indices` and `meta`, atomically."""
        write_npz(Path(path), {"indices": self.indices}, self.meta.to_json())
        return Path(path)


def validate_ids(ids: Array, total: int, where: str, dataset: str = "") -> NDArray[np.int64]:
    """`ids` as int64, in the order given, if every one is a whole number in 0..total-1 and none comes twice.

    `where` they come from and the name of the `dataset` are for messages.

    Raises:
        InvalidValue: naming the first id that is wrong. Masks, boolean or of 0 and 1, are refused:
            np.flatnonzero(mask) makes ids of one.
    """
    if ids.ndim != 1 or ids.size == 0:
        raise InvalidValue(f"{where}: a flat list of at least one sample id is needed, got shape {list(ids.shape)}")
    if ids.dtype == np.bool_:
        raise InvalidValue(f"{where}: this is a boolean mask, not sample ids; np.flatnonzero(mask) makes ids of it")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InvalidValue(f"{where}: sample ids are whole numbers, these are {ids.dtype}")
    outside = ids[(ids < 0) | (ids >= total)]
    if outside.size:
        of = f", the training samples of {dataset}" if dataset else ""
        raise InvalidValue(f"{where}: id {outside[0]} is not in 0..{total - 1}{of} ({plural(outside.size, 'such id')})")
    result = ids.astype(np.int64)
    in_order = np.sort(result)
    doubled = in_order[1:][in_order[1:] == in_order[:-1]]
    if doubled.size and in_order[-1] <= 1:
        raise InvalidValue(
            f"{where}: {ids.size:,} numbers that are 0 and 1 are a mask, not ids; np.flatnonzero(mask) makes ids of it"
        )
    if doubled.size:
        raise InvalidValue(f"{where}: id {doubled[0]} comes more than once ({plural(doubled.size, 'such id')})")
    return result


def subset_from_ids(ids: Array, data: DatasetIdentity, source: str) -> Subset:
    """Make a subset of given ids; `source` describes their origin.

    Raises:
        InvalidValue: ids out of range, doubled, or no whole numbers.
    """
    indices = np.sort(validate_ids(ids, data.total, source, data.name))
    fraction = len(indices) / data.total
    meta = SubsetMetadata(**common_fields(data), scorer="ids", source=source, fraction=fraction, kept=len(indices))
    return Subset(indices, meta)


def load_subset(path: str | Path) -> Subset:
    """Read and check a subset file.

    Raises:
        InvalidFile: missing, truncated, another kind or version, broken metadata, or with ids that cannot be right.
    """
    path = Path(path)
    arrays, value = read_npz(path, "a subset", ("indices",))
    meta = parse_metadata(SubsetMetadata, value, path)
    if "indices" not in arrays:
        raise InvalidFile(f"{path} is no subset file: 'indices' is missing")
    try:
        indices = validate_ids(arrays["indices"], meta.total, str(path))
    except InvalidValue as error:
        raise InvalidFile(str(error)) from None
    if not np.all(indices[1:] > indices[:-1]):
        raise InvalidFile(f"{path}: 'indices' is not sorted")
    return Subset(indices, meta)
