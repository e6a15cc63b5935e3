"""The FFCV cache: each split written once as a raw `.beton`, shared between runs and processes.

The files are ordinary FFCV datasets with the fields `image` (uint8 array), `label` and `id`; they can be loaded with
FFCV alone. FFCV's own writer forks workers and waits without end if one dies; here its field encoders and its
allocator run in this process, at the speed of the disk for raw images.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile, MissingPackage, first_line
from datapruning.io.atomic import atomic_write
from datapruning.io.checksums import write_checksummed
from datapruning.io.disk_space import check_free_space, format_bytes, remove_partial_files
from datapruning.io.locks import exclusive_lock
from datapruning.utils.console import info, progress
from datapruning.utils.processes import agree, main_only

PAGE_BYTES = 8 * 2**20
MAX_HEADER_BYTES = 4096  # before the first table


def import_ffcv() -> Any:
    """Import FFCV. It sets torch's thread count when imported; the count is restored.

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
                f"the FFCV loader cannot be imported ({first_line(error)}): pip install 'datapruning-toolkit[ffcv]' "
                "(Debian: libopencv-dev, libturbojpeg0-dev, pkg-config and g++ first), or choose the loader memory",
                parameter="loader",
            ) from None
    return ffcv


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """Restore torch's thread count afterwards: FFCV calls torch.set_num_threads, which changes float sums."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cache_folder(dataset: Dataset, root: Path) -> Path:
    """The folder of the cache of `dataset`; named by its fingerprint, so it can never be another dataset's."""
    return root / f"{dataset.name}-{dataset.fingerprint[:12]}"


def ensure_cache(dataset: Dataset, role: str, root: Path) -> Path:
    """The `.beton` of a split; written if it is missing. One process writes, others wait."""
    path = cache_folder(dataset, root) / f"{role}.beton"
    if not agree(path.exists()):
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
    """The size of a cache of `count` samples: full pages, and two tables of 24 bytes a sample."""
    images = -(-count // max(PAGE_BYTES // int(split.images[0].nbytes), 1))
    table = -(-(MAX_HEADER_BYTES + 24 * count) // PAGE_BYTES)
    return (table + images) * PAGE_BYTES + 24 * count


@main_only
def write_beton(path: Path, split: Split, ids: NDArray[np.int64]) -> None:
    """Write the samples `ids` of `split` to `path`, whole or not at all. The caller holds the lock of `path`.

    Raises:
        DiskFull: the disk is full. InvalidFile: an image is larger than a page.
    """
    if split.images[0].nbytes > PAGE_BYTES:
        raise InvalidFile(f"{path}: images of {format_bytes(split.images[0].nbytes)} are too large for a raw cache")
    ffcv = import_ffcv()
    size = beton_bytes(split, len(ids))
    remove_partial_files(path)
    check_free_space(path, size)
    info(f"writing {path}: {len(ids):,} images, about {format_bytes(size)}")
    fields = {
        "image": ffcv.fields.NDArrayField(np.dtype(np.uint8), split.shape),
        "label": ffcv.fields.IntField(),
        "id": ffcv.fields.IntField(),
    }
    with write_checksummed(path), atomic_write(path, size) as temporary, torch_threads_kept():
        writer = ffcv.writer.DatasetWriter(str(temporary), fields, page_size=PAGE_BYTES, num_workers=1)
        writer.num_samples = len(ids)
        writer.prepare()
        writer.metadata_sm.close()  # shared memory is for forked workers; a plain array serves one process
        writer.metadata_sm.unlink()
        metadata = np.zeros(len(ids), writer.metadata_type)
        writer.metadata_sm = SimpleNamespace(buf=metadata.data)
        allocator = ffcv.writer.MemoryAllocator(str(temporary), writer.data_region_start, PAGE_BYTES)
        with allocator:
            for row, sample in enumerate(progress(ids.tolist(), f"caching {path.name}")):
                values = (split.images[sample], int(split.labels[sample]), sample)
                ffcv.writer.handle_sample(values, row, metadata.dtype.names, metadata, allocator, fields)
        writer.finalize([allocator.allocations])
        if temporary.stat().st_size != size:  # its allocator does not check that a page was written in full
            raise OSError(errno.ENOSPC, "fewer bytes were stored than were written")
