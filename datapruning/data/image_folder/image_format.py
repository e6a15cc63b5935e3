"""How decoded images are stored: raw, as one memory-mapped array, or encoded again, as JPEG files in one file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset_spec import JPG
from datapruning.data.image_folder.lazy_images import JpegArchive
from datapruning.io.atomic import atomic_write
from datapruning.io.checksums import verify_checksum, write_checksummed
from datapruning.io.npy import open_npy_memmap


@dataclass(frozen=True)
class ImageFormat:
    """The side of the decoded images in pixels, and the quality of JPEG (Pillow's, 4:2:0); None: raw."""

    size: int
    quality: int | None = None

    @property
    def suffix(self) -> tuple[str, ...]:
        """The part that it adds to file names and fingerprints; none for raw images."""
        return () if self.quality is None else (f"{JPG}{self.quality}",)

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

    @contextmanager
    def open_writer(self, file: BinaryIO, path: Path, count: int) -> Iterator[Writer]:
        """A writer of `count` images into `file`, which is to become `path`."""
        if self.quality is None:
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, self.size, self.size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
        writer = Writer(file, np.zeros(count, np.int64))
        yield writer
        if self.quality is not None:
            offsets = _offsets_path(path)
            with write_checksummed(offsets), atomic_write(offsets) as temporary, temporary.open("wb") as offsets_file:
                np.save(offsets_file, writer.ends, allow_pickle=False)

    def open(self, path: Path) -> Any:
        """The images in `path`: a read-only array, or a `JpegArchive`.

        Raises:
            OSError, ValueError, EOFError, InvalidFile: missing, or broken.
        """
        if self.quality is None:
            return np.asarray(open_npy_memmap(path))
        verify_checksum(_offsets_path(path), "delete its folder to have it made again")
        return JpegArchive(path, np.asarray(open_npy_memmap(_offsets_path(path))), self.size)


@dataclass
class Writer:
    """Appends images to a file, and notes the offset at which each ends."""

    file: BinaryIO
    ends: NDArray[np.int64]
    count: int = 0
    length: int = 0

    def add(self, content: bytes | memoryview) -> None:
        """Append the next image."""
        self.file.write(content)
        self.length += len(content) if isinstance(content, bytes) else content.nbytes
        self.ends[self.count] = self.length
        self.count += 1


def _offsets_path(path: Path) -> Path:
    return path.with_suffix(".ends.npy")
