"""Folders whose images are all nearly black, or all of one colour, are said to be so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datapruning as dp

PATTERN = np.random.default_rng(0).integers(0, 2, (6, 12, 12)).astype(np.uint8)


def opened(folder: Path, images: np.ndarray, skip: bool = False) -> dp.Dataset:
    """Open a folder of two classes with these training images, uint8 [6, height, width]."""
    for number, image in enumerate(images):
        for split in ("train", "test"):
            path = folder / "data" / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    if skip:
        (folder / "data" / "train" / "a" / "broken.png").write_bytes(b"")
    return dp.open_dataset(folder / "data", image_size=12, skip_unreadable=skip, workspace=folder / "runs")


@pytest.mark.parametrize("skip", [False, True])
def test_masks_of_0_and_1_are_said_to_be_nearly_black(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], skip: bool
) -> None:
    assert opened(tmp_path, PATTERN, skip).train.images[:2].max() >= 1
    assert "data: no training image is brighter than 1 of 255: nearly black" in capsys.readouterr().err


def test_images_of_one_colour_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(tmp_path, np.full_like(PATTERN, 255))
    assert "data: every training image is the same, of one colour (255, 255, 255)" in capsys.readouterr().err


def test_dark_images_with_something_bright_are_not_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = PATTERN.copy()
    images[3, 4, 5] = 200
    opened(tmp_path, images)
    messages = capsys.readouterr().err
    assert "nearly black" not in messages
    assert "one colour" not in messages
