"""Decoding: every mode and file type to uint8 RGB of one size; invalid images are refused with a reason."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datapruning.data.image_folder.decode import decode
from datapruning.data.image_folder.pixel_modes import CorruptImage

RED, GREEN = (250, 10, 20), (5, 240, 30)


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def two_halves(width: int, height: int) -> Image.Image:
    """Make an image that is red on the left and green on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height))
    return image


def test_an_image_of_the_requested_size_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    decoded = decode(encoded(Image.fromarray(pixels)), 16)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(("width", "height"), [(40, 16), (16, 40)])
def test_images_are_centre_cropped(width: int, height: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    middle = pixels[:, 12:28] if width > height else pixels[12:28]
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels)), 16), middle)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 700), (33, 64), (500, 400)])
def test_any_size_is_decoded_to_one_size(width: int, height: int) -> None:
    pixels = decode(encoded(Image.new("RGB", (width, height), RED)), 24)
    assert pixels.shape == (24, 24, 3)
    assert (pixels == RED).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    as_stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    np.testing.assert_array_equal(decode(encoded(as_stored, exif=exif), 8), np.asarray(upright))
    np.testing.assert_array_equal(decode(encoded(as_stored, "tiff", exif=exif), 8), np.asarray(upright))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_broken_exif_is_ignored() -> None:
    pixels = decode(encoded(Image.new("RGB", (8, 8), RED), "jpeg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff\xff"), 8)
    assert np.abs(pixels.astype(int) - RED).max() < 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGBA", "LA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 16).round().astype(np.uint8), (16, 1))
    expected = np.repeat(ramp[..., None], 3, -1)
    if mode == "I;16":
        image = Image.fromarray(ramp.astype(np.uint16) * 257)
        assert image.mode == mode
    elif mode == "1":
        expected = np.where(expected > 127, 255, 0).astype(np.uint8)
        image = Image.fromarray(ramp).point(lambda value: 255 * (value > 127), "1")
    else:
        image = Image.fromarray(expected if mode in ("CMYK", "YCbCr", "RGBA") else ramp).convert(mode)
    pixels = decode(encoded(image, "tiff" if mode in ("CMYK", "YCbCr") else "png"), 16)
    assert np.abs(pixels.astype(int) - expected).max() <= 2


def test_transparent_parts_are_white() -> None:
    image = two_halves(8, 8).convert("RGBA")
    image.paste((7, 7, 7, 0), (0, 0, 4, 8))
    for kind in ("png", "webp"):
        pixels = decode(encoded(image, kind, lossless=True), 8)
        assert (pixels[:, :4] == 255).all()
        assert (pixels[:, 4:] == GREEN).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([9, 9, 9, 0, 0, 250])
    palette.paste(1, (4, 0, 8, 8))
    pixels = decode(encoded(palette, "gif", transparency=0), 8)
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == (0, 0, 250)).all()


def test_of_several_frames_the_first_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), GREEN)]
    for kind in ("tiff", "png"):
        assert (decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), 8) == RED).all()


def test_a_large_jpeg_is_decoded_at_reduced_size() -> None:
    pixels = decode(encoded(two_halves(1200, 1000), "jpeg", quality=95), 20).astype(int)
    assert np.abs(pixels[:, :9] - RED).max() < 8
    assert np.abs(pixels[:, 11:] - GREEN).max() < 8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b'<?xml version="1.0"?>\n<svg width="8">', "SVG"),
        (encoded(two_halves(300, 200), "jpeg")[:900], "truncated"),
        (encoded(two_halves(300, 200))[:120], "truncated"),
        (encoded(two_halves(300, 200), "bmp")[:3000], "truncated"),
        (encoded(Image.fromarray(np.ones((8, 8), np.float32)), "tiff"), "floating-point"),
    ],
)
def test_invalid_images_are_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(CorruptImage, match=reason) as error_info:
        decode(content, 8)
    assert str(error_info.value)
    assert "\n" not in str(error_info.value)
