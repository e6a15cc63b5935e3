"""The same picture in every mode, bit depth and container decodes to the same RGB; what is not sure is refused by name."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.image_modes import CONTAINERS, LOSSY, MODES, SIZE, encode, make_picture
from datapruning.data.image_folder.decode import decode
from datapruning.data.image_folder.pixel_modes import CorruptImage

RAMP = np.tile(np.linspace(0, 255, 16).round().astype(np.uint8), (16, 1))
RAMP_16 = RAMP.astype(np.uint16) * 257
REFUSED = ("I", "F")
"""Modes of pixels of unknown range, in TIFF."""


def make_png(depth: int, colour_type: int, rows: Sequence[bytes], transparent: bytes = b"") -> bytes:
    """Make a PNG of 16x16 pixels, perhaps with a transparent colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 16, 16, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    colour = chunk(b"tRNS", transparent) if transparent else b""
    chunks = chunk(b"IHDR", header) + colour + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def make_tiff(pixels: bytes, **tags: int) -> bytes:
    """Make an uncompressed TIFF of 16x16 pixels with one value a tag."""
    values = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 16, 279: len(pixels)}
    values |= {TAGS[name]: value for name, value in tags.items()}
    samples = values[277]
    start = 8 + 2 + 12 * len(values) + 4
    bits = struct.pack("<H", values[258]) * samples
    values[273] = start + len(bits)
    entries = b""
    for tag, value in sorted(values.items()):
        if tag == 258 and samples > 2:
            entries += struct.pack("<HHII", tag, 3, samples, start)
        else:
            entries += struct.pack("<HHII", tag, 4 if tag in (256, 257, 273, 278, 279) else 3, 1, value)
    return b"II" + struct.pack("<HIH", 42, 8, len(values)) + entries + struct.pack("<I", 0) + bits + pixels


TAGS = {"bits": 258, "photometric": 262, "samples": 277, "max_value": 281, "extra": 338, "kind": 339}


def make_tga(alpha_bits: int, alpha: int) -> bytes:
    """Make a TGA of 32 bits a pixel: blue 10, green 20, red 30."""
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 16, 16, 32, alpha_bits)
    return header + bytes([10, 20, 30, alpha]) * 256


def grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, -1)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_in_every_container_gives_the_same_picture(mode: str, container: str) -> None:
    picture = make_picture(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on writing
        content = encode(picture, container)
    if content is None:
        return
    if mode == "F" or (mode in REFUSED and container.startswith("TIFF")):
        with pytest.raises(CorruptImage, match="of unknown range; save it with 8 or 16 bits"):
            decode(content, SIZE)
        return
    difference = np.abs(decode(content, SIZE).astype(int) - picture.rgb)
    if container in LOSSY:
        assert difference.mean() < (8 if mode.startswith("P") else 4), "colours are subsampled, and a palette has hard edges"
    elif container == "GIF" and mode not in ("1", "L", "P", "P, transparent"):
        assert difference.max() <= 16, "GIF has 256 colours"
    else:
        assert difference.max() <= (3 if mode == "YCbCr" else 0), "no more than rounding"


@pytest.mark.parametrize(("bits", "scale"), [(16, 257), (12, 4095 / 255), (8, 1)])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_tiff_depths_and_white_is_zero(bits: int, scale: float, white_is_zero: bool) -> None:
    values = (RAMP.astype(np.float64) * scale).round().astype(np.uint16)
    values = 2**bits - 1 - values if white_is_zero else values
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(np.uint32)
        packed = (pairs[:, 0] << 12) | pairs[:, 1]
        pixels = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1).astype(np.uint8).tobytes()
    else:
        pixels = values.astype("<u2" if bits == 16 else "u1").tobytes()
    content = make_tiff(pixels, bits=bits, photometric=0 if white_is_zero else 1)
    if bits == 12 and white_is_zero:
        with pytest.raises(CorruptImage, match="not an image that Pillow knows"):
            decode(content, 16)
        return
    assert np.abs(decode(content, 16).astype(int) - grey(RAMP)).max() <= (1 if bits == 12 else 0)


def test_twelve_bits_in_sixteen_are_refused_unless_the_file_says_so() -> None:
    pixels = (RAMP.astype(np.uint16) * 16).astype("<u2").tobytes()
    with pytest.raises(CorruptImage, match="its 16-bit pixels reach 4,080 of 65,535: nearly black"):
        decode(make_tiff(pixels, bits=16), 16)
    assert np.abs(decode(make_tiff(pixels, bits=16, max_value=4095), 16).astype(int) - grey(RAMP)).max() <= 1
    assert (decode(make_tiff(bytes(512), bits=16), 16) == 0).all(), "black is black in any range"


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_the_largest_value_of_a_pgm_says_what_white_is_unless_it_is_that_of_16_bits(colours: bool, plain: bool) -> None:
    def pnm(max_value: int, white: int) -> bytes:
        values = (RAMP * (white / 255)).round().astype(">u2").repeat(3 if colours else 1)
        kind = 2 + colours + 3 * (not plain)
        pixels = " ".join(map(str, values.tolist())).encode() if plain else values.tobytes()
        return f"P{kind} # by hand\n16\n# 16\n16 {max_value}\n".encode() + pixels

    for white in (65535, 4095):
        assert np.abs(decode(pnm(white, white), 16).astype(int) - grey(RAMP)).max() <= 1
    with pytest.raises(CorruptImage, match="of 65,535: nearly black"):
        decode(pnm(65535, 4095), 16)
    assert decode(pnm(65535, 4095), 16, (0, 65535)).max() in (15, 16)


@pytest.mark.parametrize(
    ("pixels", "tags", "bounds"),
    [
        ((RAMP.astype(np.uint16) * 16).astype("<u2"), {"bits": 16}, (0, 4080)),
        (RAMP_16.astype("<u2"), {"bits": 16}, (0, 65535)),
        ((RAMP.astype("<i2") - 128) * 100, {"bits": 16, "kind": 2}, (-12800, 12700)),
        (RAMP.astype("<i4") * 70000, {"bits": 32, "kind": 2}, (0, 255 * 70000)),
        (RAMP.astype("<u4") * 70000, {"bits": 32}, (0, 255 * 70000)),
        ((RAMP / 255).astype("<f4"), {"bits": 32, "kind": 3}, (0, 1)),
        ((RAMP / 127.5 - 1).astype("<f4"), {"bits": 32, "kind": 3}, (-1, 1)),
    ],
)
def test_the_pixel_range_takes_what_is_refused_without(
    pixels: NDArray[np.generic], tags: dict[str, int], bounds: tuple[float, float]
) -> None:
    content = make_tiff(pixels.tobytes(), **tags)
    if bounds != (0, 65535):
        with pytest.raises(CorruptImage, match="give the pixel range"):
            decode(content, 16)
    np.testing.assert_array_equal(decode(content, 16, bounds), grey(RAMP))
    middle = (bounds[0], (bounds[0] + bounds[1]) / 2)
    with pytest.raises(CorruptImage, match=r"pixels reach from .*, outside"):
        decode(content, 16, middle)


def test_dark_colours_of_16_bits_a_channel_are_refused_although_pillow_drops_their_lower_bits() -> None:
    def colours(channels: int, scale: int) -> bytes:
        rows = [(np.repeat(row.astype(">u2")[:, None], channels, 1) * scale).astype(">u2").tobytes() for row in RAMP]
        return make_png(16, 2, rows)

    dark, bright = colours(3, 16), colours(3, 257)
    for bounds in (None, (0, 4095)):
        with pytest.raises(CorruptImage, match=r"of 65,535: nearly black|only the range 0\.\.65535"):
            decode(dark, 16, bounds)
    assert decode(dark, 16, (0, 65535)).max() == 15
    np.testing.assert_array_equal(decode(bright, 16), grey(RAMP))
    np.testing.assert_array_equal(decode(bright, 16, (0, 65535)), grey(RAMP))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (make_tiff(np.arange(256, dtype="<i4").tobytes(), bits=32, kind=2), "signed numbers of unknown range"),
        (make_tiff(np.arange(256, dtype="<u4").tobytes(), bits=32), "numbers of 32 bits of unknown range"),
        (make_tiff(np.arange(256, dtype="<i2").tobytes(), bits=16, kind=2), "signed numbers of unknown range"),
        (make_tiff(np.arange(256).astype("i1").tobytes(), kind=2), "signed numbers of unknown range"),
        (make_tiff(np.arange(256, dtype="<f4").tobytes(), bits=32, kind=3), "floating-point numbers of unknown range"),
        (make_tiff(bytes([9, 9, 9, 0]) * 256, samples=4, photometric=2, extra=2), "all of it is transparent"),
        (make_tga(8, 0), "all of it is transparent"),
        (make_png(16, 2, [bytes(range(96))] * 16, bytes(6)), "16 bits a channel and a transparent colour"),
    ],
)
def test_pixels_whose_meaning_is_not_sure_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(CorruptImage, match=reason):
        decode(content, 16)


def test_undefined_alpha_is_no_transparency() -> None:
    for content in (make_tga(0, 0), make_tiff(bytes([30, 20, 10, 0]) * 256, samples=4, photometric=2)):
        assert (decode(content, 16) == (30, 20, 10)).all()
    assert (decode(make_tga(8, 255), 16) == (30, 20, 10)).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [0, 1])
def test_a_transparent_grey_is_white_in_every_depth(depth: int, transparent: int) -> None:
    levels = np.arange(16) % 2**depth if depth < 16 else np.arange(16) * 4369
    key = int(levels[transparent])
    if depth == 16:
        row = levels.astype(">u2").tobytes()
    else:
        row = np.packbits(np.unpackbits(levels.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :].ravel()).tobytes()
    decoded = decode(make_png(depth, 0, [row] * 16, struct.pack(">H", key)), 16)
    expected = np.round(levels * 255 / (2**depth - 1)).astype(np.uint8)
    expected[levels == key] = 255
    np.testing.assert_array_equal(decoded, grey(np.tile(expected, (16, 1))))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [16, 300])
def test_a_jpeg_that_ends_properly_without_its_lower_half_is_refused(progressive: bool, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", progressive=progressive)
    whole = file.getvalue()
    cut = whole[: len(whole) // 2] + b"\xff\xd9"
    with pytest.raises(CorruptImage, match="truncated or damaged"):
        decode(cut, size)
    with Image.open(io.BytesIO(whole)) as image:
        image.draft(None, (2 * size, 2 * size))
        expected = image.resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(whole, size), np.asarray(expected), err_msg="otherwise the bits are Pillow's")


def test_bytes_between_the_parts_of_a_jpeg_do_no_harm() -> None:
    file = io.BytesIO()
    Image.fromarray(grey(RAMP)).save(file, "JPEG", quality=95, subsampling=0)
    whole = file.getvalue()
    odd = whole[:-2] + b"\0\0\0\0" + whole[-2:] + b"trailing"
    np.testing.assert_array_equal(decode(odd, 16), decode(whole, 16))
