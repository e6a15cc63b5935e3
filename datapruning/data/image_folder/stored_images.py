"""Decoded images as they are stored: raw, as one memory-mapped array, or encoded again, as JPEG files in one file.

Either is indexed like an array of images, and read when it is needed.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset_spec import JPG
from datapruning.errors import InvalidFile
from datapruning.io.atomic import atomic_write
from datapruning.io.checksums import verify_checksum, write_checksummed
from datapruning.io.npy import open_npy_memmap
from datapruning.utils.system import available_cpus


class LazyImages:
    """Takes the place of the array `Split.images`: uint8 [n, height, width, channels], never in memory as a whole.

    An index is anything that indexes the first axis of an array: a number, a slice, a list of numbers or a mask.
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
        indices = np.arange(len(self))[index]
        return self._read(indices) if indices.ndim else self._read(indices[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise NotImplementedError


class ImageSubset(LazyImages):
    """The images at `indices`, int64 [n], of other images."""

    def __init__(self, images: Any, indices: NDArray[np.int64]) -> None:
        super().__init__((len(indices), *images.shape[1:]))
        self._images, self._indices = images, indices

    def _read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = self._images[self._indices[indices]]
        return images


class JpegArchive(LazyImages):
    """JPEG files of `size` pixels each way, one after another in the file `path`; decoded by one thread per CPU.

    `ends`, int64 [n], is the offset in bytes at which each of them ends.

    Raises:
        InvalidFile: `ends` that are not those of the file.
    """

    def __init__(self, path: Path, ends: NDArray[np.int64], size: int) -> None:
        super().__init__((len(ends), size, size, 3))
        self._path, self._ends = path, ends
        if ends.dtype != np.int64 or ends.ndim != 1 or (np.diff(ends, prepend=0) <= 0).any():
            raise InvalidFile(f"the list of offsets of {path} is broken")
        if len(ends) == 0 or path.stat().st_size != ends[-1]:
            raise InvalidFile(f"{path} is not as long as its list of offsets says")
        self._bytes = np.asarray(np.memmap(path, np.uint8, "r"))

    def _read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        num_threads = max(1, min(available_cpus(), len(indices)))

        def decode_rows(first: int) -> None:
            for row in range(first, len(indices), num_threads):
                images[row] = self._decode(int(indices[row]))

        if num_threads == 1:
            decode_rows(0)
        else:
            with ThreadPoolExecutor(num_threads) as pool:
                list(pool.map(decode_rows, range(num_threads)))
        return images

    def _decode(self, index: int) -> NDArray[np.uint8]:
        from PIL import Image

        start = int(self._ends[index - 1]) if index else 0
        try:
            with Image.open(io.BytesIO(self._bytes[start : int(self._ends[index])].data), formats=["JPEG"]) as image:
                pixels: NDArray[np.uint8] = np.asarray(image)
        except (OSError, ValueError, SyntaxError):
            pixels = np.empty(0, np.uint8)
        if pixels.shape != self.shape[1:]:
            raise InvalidFile(f"{self._path} is damaged at image {index}; delete its folder to have it made again")
        return pixels


@dataclass(frozen=True)
class ImageFormat:
    """How images are decoded and stored.

    `size` is their side in pixels, `quality` that of JPEG (Pillow's, 4:2:0; None: raw), `pixel_bounds` are the values of
    black and white in pixels of more than 8 bits (None: what the file says).
    """

    size: int
    quality: int | None = None
    pixel_bounds: tuple[float, float] | None = None

    @property
    def suffix(self) -> tuple[str, ...]:
        """The parts that it adds to file names and fingerprints; none for raw images of the range that files say."""
        form = [] if self.quality is None else [f"{JPG}{self.quality}"]
        bounds = [] if self.pixel_bounds is None else ["{}to{}".format(*self.pixel_bounds)]
        return (*form, *bounds)

    @property
    def size_note(self) -> str:
        """The word before a size that is printed before decoding: that of JPEG files is an estimate."""
        return "" if self.quality is None else "about "

    @property
    def image_bytes(self) -> int:
        """The bytes of a raw image."""
        return self.size * self.size * 3

    def path(self, folder: Path, role: str) -> Path:
        """The file of a split."""
        return folder / (f"{role}.npy" if self.quality is None else f"{role}.jpgs")

    def encode(self, image: NDArray[np.uint8]) -> bytes | memoryview:
        """The bytes that are stored of an image, uint8 [size, size, 3]."""
        if self.quality is None:
            return image.data
        from PIL import Image

        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "JPEG", quality=self.quality)
        return encoded.getvalue()

    def write_header(self, file: BinaryIO, count: int) -> None:
        """Write what comes before `count` images in their file."""
        if self.quality is None:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, self.size, self.size, 3)}
            np.lib.format.write_array_header_1_0(file, header)

    def write_ends(self, path: Path, ends: Sequence[int]) -> None:
        """Write the list of the offsets at which the images of the file `path` end, which JPEG files of any length need."""
        if self.quality is not None:
            offsets = _offsets_path(path)
            with write_checksummed(offsets), atomic_write(offsets) as temporary, temporary.open("wb") as file:
                np.save(file, np.array(ends, np.int64), allow_pickle=False)

    def open(self, path: Path) -> Any:
        """The images in `path`: a read-only array, or a `JpegArchive`.

        Raises:
            OSError, ValueError, EOFError, InvalidFile: missing, or broken.
        """
        if self.quality is None:
            return np.asarray(open_npy_memmap(path))
        verify_checksum(_offsets_path(path), "delete its folder to have it made again")
        return JpegArchive(path, np.asarray(open_npy_memmap(_offsets_path(path))), self.size)


def _offsets_path(path: Path) -> Path:
    return path.with_suffix(".ends.npy")
