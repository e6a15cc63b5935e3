"""Images that stay in their file: indexed as an array of them would be, read when they are asked for."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidFile
from datapruning.utils.system import available_cpus


class LazyImages:
    """Stands where `Split.images` is an array: uint8 [n, height, width, channels] that is never in memory as a whole.

    An index is what would index the first axis of an array: a number, a slice, a list of numbers or a mask.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all the images as an array."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        places = np.arange(len(self))[index]
        return self._read(places) if places.ndim else self._read(places[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise NotImplementedError


class ImageSubset(LazyImages):
    """The images at `places` of others, int64 [n]."""

    def __init__(self, images: Any, places: NDArray[np.int64]) -> None:
        super().__init__((len(places), *images.shape[1:]))
        self._images, self._places = images, places

    def _read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = self._images[self._places[places]]
        return images


class JpegArchive(LazyImages):
    """JPEG files of one size, one after another in one file; decoded by as many threads as there are cores.

    Args:
        path: the file.
        ends: int64 [n], where in it each picture ends.
        size: side of the pictures.

    Raises:
        InvalidFile: `ends` that are not the file's.
    """

    def __init__(self, path: Path, ends: NDArray[np.int64], size: int) -> None:
        super().__init__((len(ends), size, size, 3))
        self._path, self._ends = path, ends
        if ends.dtype != np.int64 or ends.ndim != 1 or (np.diff(ends, prepend=0) <= 0).any():
            raise InvalidFile(f"the list of ends beside {path} is broken")
        if len(ends) == 0 or path.stat().st_size != ends[-1]:
            raise InvalidFile(f"{path} is not as long as the list beside it says")
        self._bytes = np.asarray(np.memmap(path, np.uint8, "r"))

    def _read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = np.empty((len(places), *self.shape[1:]), np.uint8)
        workers = min(available_cpus(), len(places))

        def work(first: int) -> None:
            for row in range(first, len(places), workers):
                images[row] = self._decoded(int(places[row]))

        if workers < 2:
            work(0) if workers else None
            return images
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(work, range(workers)):
                pass
        return images

    def _decoded(self, place: int) -> NDArray[np.uint8]:
        from PIL import Image

        start = int(self._ends[place - 1]) if place else 0
        try:
            with Image.open(io.BytesIO(self._bytes[start : int(self._ends[place])].data), formats=["JPEG"]) as image:
                pixels: NDArray[np.uint8] = np.asarray(image)
        except (OSError, ValueError, SyntaxError):
            pixels = np.empty(0, np.uint8)
        if pixels.shape != self.shape[1:]:
            raise InvalidFile(f"{self._path} is damaged at picture {place}; delete its folder to have it made again")
        return pixels
