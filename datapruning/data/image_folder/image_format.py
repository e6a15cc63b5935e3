"""How decoded images are stored: raw, as one memory-mapped array, or encoded again, as JPEG files in one file."""

import io
from collections.abc import Sequence
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
