"""The FFCV cache: each split written once as a raw `.beton`, shared between runs and processes.

The files are ordinary FFCV datasets with the fields `image` (uint8 array), `label` and `id`; they can be loaded with
FFCV alone. FFCV's own writer forks workers and waits without end if one dies; here its field encoders and its
allocator run in this process, at the speed of the disk for raw images.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile, MissingPackage, first_line
from datapruning.io.atomic import atomic_write
from datapruning.io.checksums import write_checksummed
from datapruning.io.disk_space import check_free_space, format_bytes, remove_partial_files
from datapruning.io.locks import exclusive_lock
from datapruning.utils.console import info, progress

PAGE = 8 * 2**20
HEAD = 4096  # bytes before the first table, at most


def import_ffcv() -> Any:
    """Import FFCV, or say in one line what is missing. FFCV sets torch's thread count when imported; it is put back.

    Raises:
        MissingPackage: naming the package.
    """
    with torch_threads_kept():
        try:
            import ffcv
            import ffcv.fields
            import ffcv.loader
            import ffcv.writer
        except ImportError as error:
            raise MissingPackage(
                f"the FFCV loader cannot be imported ({first_line(error)}): install ffcv and pillow "
                "(Debian: libopencv-dev, libturbojpeg0-dev, pkg-config and g++ first), or use --loader memory"
            ) from None
    return ffcv


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """FFCV calls torch.set_num_threads behind one's back, which changes float sums; this undoes it."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cache_folder(dataset: Dataset, root: Path) -> Path:
    """Where the cache of `dataset` lies: named by its fingerprint, so it can never be another dataset's."""
    return root / f"{dataset.name}-{dataset.fingerprint[:12]}"


def ensure_cache(dataset: Dataset, role: str, root: Path) -> Path:
    """The `.beton` of a split; written if it is not there. One process writes, others wait and say so."""
    path = cache_folder(dataset, root) / f"{role}.beton"
    if not path.exists():
        with exclusive_lock(path, f"another process is writing {path}"):
            if not path.exists():
                split = dataset.split(role)
                write_beton(path, split, np.arange(len(split)))
    return path


def ensure_subset_cache(dataset: Dataset, ids: NDArray[np.int64], path: Path) -> Path:
    """A compact `.beton` of the training samples `ids` alone, for data that does not fit in memory."""
    with exclusive_lock(path, f"another process is writing {path}"):
        write_beton(path, dataset.train, ids)
    return path


def beton_bytes(split: Split, count: int) -> int:
    """How large the cache of `count` samples is: whole pages, and two tables of 24 bytes a sample."""
    images = -(-count // max(PAGE // int(split.images[0].nbytes), 1))
    table = -(-(HEAD + 24 * count) // PAGE)
    return (table + images) * PAGE + 24 * count


def write_beton(path: Path, split: Split, ids: NDArray[np.int64]) -> None:
    """Write the samples `ids` of `split` to `path`, whole or not at all. The caller holds the lock of `path`.

    Raises:
        DiskFull: the disk is full. InvalidFile: an image is larger than a page.
    """
    if split.images[0].nbytes > PAGE:
        raise InvalidFile(f"{path}: images of {format_bytes(split.images[0].nbytes)} are too large for a raw cache")
    ffcv = import_ffcv()
    need = beton_bytes(split, len(ids))
    remove_partial_files(path)
    check_free_space(path, need)
    info(f"writing {path}: {len(ids):,} images, about {format_bytes(need)}")
    fields = {
        "image": ffcv.fields.NDArrayField(np.dtype(np.uint8), split.shape),
        "label": ffcv.fields.IntField(),
        "id": ffcv.fields.IntField(),
    }
    with write_checksummed(path), atomic_write(path, need) as temporary, torch_threads_kept():
        writer = ffcv.writer.DatasetWriter(str(temporary), fields, page_size=PAGE, num_workers=1)
        writer.num_samples = len(ids)
        writer.prepare()
        writer.metadata_sm.close()  # shared memory is for forked workers; a plain array serves one process
        writer.metadata_sm.unlink()
        metadata = np.zeros(len(ids), writer.metadata_type)
        writer.metadata_sm = SimpleNamespace(buf=metadata.data)
        allocator = ffcv.writer.MemoryAllocator(str(temporary), writer.data_region_start, PAGE)
        with allocator:
            for row, sample in enumerate(progress(ids.tolist(), f"caching {path.name}")):
                values = (split.images[sample], int(split.labels[sample]), sample)
                ffcv.writer.handle_sample(values, row, metadata.dtype.names, metadata, allocator, fields)
        writer.finalize([allocator.allocations])
        if temporary.stat().st_size != need:  # its allocator does not look whether a page was written whole
            raise OSError(errno.ENOSPC, "fewer bytes arrived than were written")
