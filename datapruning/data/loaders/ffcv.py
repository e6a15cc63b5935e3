"""The FFCV loader, which avoids the pitfalls of FFCV 1.0.2 (docs/ffcv.md lists them; each has a test).

FFCV writes the file; raw images are read from it by one gather over a memory map, in a thread that reads ahead. FFCV's own
Loader keeps tables and Python dictionaries of every sample in memory, and follows whatever pointers the file holds; here the
tables stay in the file, and are checked once against its size. The order comes from the caller, every batch has memory of
its own, and a worker's exception reaches the caller instead of leaving it waiting.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.ffcv_format import ALLOCATION, FIELD, FIELDS, HEADER, SAMPLE, VERSION, image_shape
from datapruning.data.loaders.loader import Batch, make_batches, samples_at_once, validate_batches
from datapruning.data.loaders.prefetch import prefetch
from datapruning.errors import InvalidFile, LoaderError, first_line
from datapruning.io.checksums import verify_checksum
from datapruning.io.npy import READ_ERRORS
from datapruning.io.regular_file import open_regular_file
from datapruning.utils.upload import pinned

REWRITE_HINT = "delete it to have it written again"


class Beton:
    """A `.beton` opened for reading: the images and sample ids of a file that `write_beton` wrote, by position in it.

    Raises:
        InvalidFile: no `.beton`, a truncated one, or one with other fields.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            verify_checksum(path, REWRITE_HINT, external=True)
            self.shape, samples = _tables(path)
        except FileNotFoundError:
            raise InvalidFile(f"{path} is not there") from None
        except READ_ERRORS as error:
            raise InvalidFile(f"{path} is not a whole .beton file ({first_line(error)}); {REWRITE_HINT}") from None
        self._pointers: NDArray[np.uint64] = samples["image"]
        self._ids: NDArray[np.int64] = samples["id"]
        file, size = np.asarray(np.memmap(path, np.uint8, "r")), prod(self.shape)
        self._runs = as_strided(file, (len(file) - size + 1, size), (1, 1), writeable=False)  # an image may begin anywhere

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, positions: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(images, sample ids) at `positions`, in new arrays. Other Python threads run meanwhile."""
        images = self._runs[self._pointers[positions].astype(np.int64)]
        return images.reshape(-1, *self.shape), self._ids[positions]


class FFCVLoader:
    """Reads a `.beton` that `write_beton` wrote (see `datapruning.data.loaders.loader.Loader`).

    `labels`, int64, are those of the whole split, by sample id; `ids` those in the file, sorted, where it holds a subset
    (`dprune cache --subset`).

    Raises:
        InvalidFile: no `.beton`, or one of another number of samples.
    """

    kind = "ffcv"

    def __init__(
        self, path: Path, labels: NDArray[np.int64], device: torch.device, ids: NDArray[np.int64] | None = None
    ) -> None:
        self._file = Beton(path)
        self._ids = ids
        self._labels = labels
        self._device = device
        self.samples_at_once = samples_at_once(device, self._file.shape)
        expected = len(labels) if ids is None else len(ids)
        if len(self._file) != expected:
            raise InvalidFile(f"{path} holds {len(self._file):,} samples, {expected:,} are expected")

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
        batches = validate_batches(batches, len(self))
        if self._ids is not None:
            for ids in batches:
                self._positions(ids)
        with closing(prefetch(self._read, batches, str(self._file.path))) as decoded:
            yield from make_batches(self._device, self._checked(decoded, batches), self._labels, batches)

    def _read(self, ids: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64]]:
        """Images and the ids that the file says they have."""
        images, stored_ids = self._file.read(self._positions(ids))
        return pinned(images, self._device), stored_ids

    def _checked(
        self, decoded: Iterable[tuple[Tensor, NDArray[np.int64]]], batches: Sequence[NDArray[np.int64]]
    ) -> Iterator[Tensor]:
        for ids, (images, stored_ids) in zip(batches, decoded, strict=True):
            if not np.array_equal(stored_ids, ids):
                raise LoaderError(f"{self._file.path} is damaged: its sample ids are not in order")
            yield images

    def _positions(self, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
        if self._ids is None:
            return ids.astype(np.uint64)
        positions = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        missing = ids[self._ids[positions] != ids]
        if missing.size:
            raise LoaderError(f"sample id {missing[0]} is not in the compact cache {self._file.path}")
        return positions.astype(np.uint64)


def _tables(path: Path) -> tuple[tuple[int, ...], NDArray[np.void]]:
    """The shape of the images and the memory-mapped table of samples, after checking that the file is complete."""
    with open_regular_file(path) as (_, size):
        header = np.fromfile(path, HEADER, count=1)[0]
    if header["version"] != VERSION:
        raise ValueError(f"format version {header['version']}")
    if header["num_fields"] != len(FIELDS):
        raise ValueError(f"{header['num_fields']} fields instead of {len(FIELDS)}")
    fields = np.fromfile(path, FIELD, count=len(FIELDS), offset=HEADER.itemsize)
    names = [bytes(name).rstrip(b"\0").decode() for name in fields["name"]]
    if names != list(FIELDS):
        raise ValueError(f"fields {', '.join(names)} instead of {', '.join(FIELDS)}")
    if fields["type_id"].tolist() != list(FIELDS.values()):
        raise ValueError("images are no arrays, or labels and ids no whole numbers")
    shape = image_shape(fields["arguments"][0])
    start = HEADER.itemsize + fields.nbytes
    count, allocations, element = int(header["num_samples"]), int(header["alloc_table_ptr"]), prod(shape)
    if element > allocations:
        raise ValueError(f"images of {element:,} bytes and shape {list(shape)}")
    if count < 1 or allocations + count * ALLOCATION.itemsize != size:
        raise ValueError("truncated")
    if start + count * SAMPLE.itemsize > allocations:
        raise ValueError("its table of samples lies outside the file")
    samples = np.asarray(np.memmap(path, SAMPLE, "r", offset=start, shape=count))
    if not start <= int(samples["image"].min()) <= int(samples["image"].max()) <= allocations - element:
        raise ValueError("images outside the file")
    return shape, samples
