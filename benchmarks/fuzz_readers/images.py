"""Image files of every mode and container."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fuzz_readers.reader import NONE, RNG, Reader
from benchmarks.image_modes import CONTAINERS as IMAGE_CONTAINERS
from benchmarks.image_modes import MODES, deviation, encode, make_picture
from datapruning.data.image_folder.decode import CorruptImage, decode
from datapruning.errors import InvalidFile

CONTAINERS = {
    f"{mode.replace(', ', '-').replace(';', '-')}-{number}.bin": (mode, container)
    for mode in MODES
    for number, container in enumerate(IMAGE_CONTAINERS)
}
"""File of each mode in each container; what is decoded is found out by content."""


@cache
def container_files() -> dict[str, bytes]:
    """The files of all modes and containers that Pillow writes and that are not refused."""
    files = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on writing
        for name, (mode, container) in CONTAINERS.items():
            content = encode(make_picture(mode), container)
            if content is not None and isinstance(deviation(mode, container), int):
                files[name] = content
    return files


def make_containers(folder: Path) -> None:
    for name, content in container_files().items():
        (folder / name).write_bytes(content)


def read_containers(folder: Path) -> Any:
    """Decode the files that were changed; the others are what they were."""
    images = []
    for name, content in container_files().items():
        try:
            changed = (folder / name).read_bytes()
            with warnings.catch_warnings(action="ignore"):  # Pillow's, of odd metadata, as where folders are decoded
                images.append(content if changed == content else decode(changed, 32))
        except CorruptImage as error:
            raise InvalidFile(str(error)) from None
    return images


IMAGE_SUFFIXES = ("jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "jp2", "tga", "pcx")


def make_images(folder: Path) -> None:
    rng = RNG(0)
    smooth = np.add.outer(np.arange(24), np.arange(20))[..., None] * np.array([3, 4, 5]) + rng.integers(0, 9, (24, 20, 3))
    for ending in IMAGE_SUFFIXES:
        Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(folder / f"image.{ending}")


def read_images(folder: Path) -> Any:
    images = []
    for ending in IMAGE_SUFFIXES:
        try:
            images.append(decode((folder / f"image.{ending}").read_bytes(), 16))
        except CorruptImage as error:  # how a image is refused; its caller names the file
            raise InvalidFile(str(error)) from None
    return images


READERS = (
    Reader("images", tuple(f"image.{ending}" for ending in IMAGE_SUFFIXES), make_images, read_images, NONE),
    Reader("image containers", tuple(container_files()), make_containers, read_containers, NONE),
)
