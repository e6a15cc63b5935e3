"""Folders of small pictures of every kind, made by the tests themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"cats": (200, 80, 40), "dogs": (30, 90, 200)}


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (12, 10)) -> Path:
    """A picture of one colour, of the type that the path's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def photos(root: Path, train: int = 12, test: int = 4) -> Path:
    """A folder with train/ and test/ of two classes, in noisy pictures of many sizes and three types."""
    rng = np.random.default_rng(0)
    for role, count in (("train", train), ("test", test)):
        for name, colour in COLOURS.items():
            folder = root / role / name
            folder.mkdir(parents=True)
            for number in range(count):
                width, height = rng.integers(9, 40, 2)
                pixels = np.array(colour) + rng.normal(0, 30, (height, width, 3))
                ending = ("jpg", "png", "bmp")[number % 3]
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.{ending}")
    return root


def spoil(path: Path, how: str) -> Path:
    """Make a picture file unreadable: "empty", "truncated" or "text"."""
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "text": b"no picture\n"}[how])
    return path
