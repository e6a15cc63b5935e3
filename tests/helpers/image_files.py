"""Folders of small generated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"cats": (200, 80, 40), "dogs": (30, 90, 200)}


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (12, 10)) -> Path:
    """Write an image of one colour in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def make_image_folder(root: Path, train: int = 12, test: int = 4) -> Path:
    """Make a folder with train/ and test/ of two classes, with noisy images of various sizes in three formats."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                width, height = rng.integers(9, 40, 2)
                pixels = np.array(colour) + rng.normal(0, 30, (height, width, 3))
                suffix = ("jpg", "png", "bmp")[number % 3]
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.{suffix}")
    return root


def corrupt_image(path: Path, damage: str) -> Path:
    """Make an image file unreadable: "empty", "truncated" or "text"."""
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "text": b"not an image\n"}[damage])
    return path
