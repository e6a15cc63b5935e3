"""The image files of one split, wherever they come from: names, labels, and a function that reads one."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from datapruning.io.disk_space import format_bytes
from datapruning.io.regular_file import open_regular_file

MAX_IMAGE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class ImageFiles:
    """The image files of one split.

    Attributes:
        names: a name for each, by sample id: its path relative to the dataset's folder, with "/", or "row 7".
        labels: int64 [n].
        read: returns the bytes of the file at a position.
        key: returns a string that changes whenever a file does, and is cheap to compute.
        are_paths: whether `names` are paths.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[int], bytes]
    key: Callable[[], str]
    are_paths: bool = True

    def subset(self, mask: NDArray[np.bool_]) -> Self:
        """The files where `mask`, bool [n], is True."""
        rows = np.flatnonzero(mask)
        return replace(
            self,
            names=tuple(self.names[row] for row in rows.tolist()),
            labels=self.labels[rows],
            read=lambda i: self.read(int(rows[i])),
            key=lambda: hashlib.sha256(self.key().encode() + rows.astype("<i8").tobytes()).hexdigest(),
        )


def files_at(root: Path, paths: tuple[str, ...], labels: NDArray[np.int64]) -> ImageFiles:
    """The files at paths relative to `root`. A file has changed if its size, or the time of a change of it, has.

    The time of a status change (ctime) notices a file that another of the same size and modification time has replaced.
    """

    @cache
    def key() -> str:
        state = hashlib.sha256(str(root.resolve()).encode())
        for path in paths:
            try:
                stat = (root / path).stat()
            except OSError:
                state.update(f"{path}\0not there\n".encode())  # a link that leads nowhere: refused when it is read
            else:
                state.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\n".encode())
        return state.hexdigest()

    return ImageFiles(paths, labels, lambda i: read_image_bytes(root / paths[i]), key)


def read_image_bytes(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        OSError: it cannot be read. ValueError: not a regular file (a pipe, a device), or larger than `MAX_IMAGE_BYTES`.
    """
    with open_regular_file(path) as (file, size):
        if size > MAX_IMAGE_BYTES:
            raise ValueError(f"it has {format_bytes(size)}, {format_bytes(MAX_IMAGE_BYTES)} at most are read")
        return file.read(size)
