"""The same picture in every mode and container that Pillow writes: how far what is decoded lies from it.

    python -m benchmarks.image_modes

The picture is a ramp of colours (or of greys, where the mode has no colours), a quarter of it transparent where the mode has
transparency. A number is the largest deviation of a channel in 0..255; lossless containers deviate by rounding alone.
"""

from __future__ import annotations

import argparse
import io
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from benchmarks.common import publish, table
from datapruning.data.image_folder.decode import decode
from datapruning.data.image_folder.pixel_modes import CorruptImage

SIZE = 32
MODES = ("1", "L", "LA", "P", "P, transparent", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F")
CONTAINERS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("PNG", {}), "TIFF": ("TIFF", {}), "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}), "BMP": ("BMP", {}),
    "DIB": ("DIB", {}), "TGA": ("TGA", {}), "TGA, RLE": ("TGA", {"compression": "tga_rle"}), "PPM": ("PPM", {}),
    "PCX": ("PCX", {}), "GIF": ("GIF", {}), "WebP, lossless": ("WEBP", {"lossless": True, "exact": True}),
    "JPEG 2000": ("JPEG2000", {}), "JPEG": ("JPEG", {"quality": 95, "subsampling": 0}),
    "JPEG, progressive": ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
    "WebP": ("WEBP", {"quality": 95}), "AVIF": ("AVIF", {"quality": 95}),
}  # fmt: skip
LOSSY = ("JPEG", "JPEG, progressive", "WebP", "AVIF")


class Picture(NamedTuple):
    """A picture in a mode, and the RGB that it is to be decoded to: uint8 [SIZE, SIZE, 3]."""

    image: Image.Image
    rgb: NDArray[np.uint8]


def make_picture(mode: str) -> Picture:
    """The picture in a mode."""
    ramp = np.linspace(0, 255, SIZE).round().astype(np.uint8)
    grey = np.tile(ramp, (SIZE, 1))
    colours = np.stack([grey, grey.T, np.full_like(grey, 90)], -1)
    alpha = np.full((SIZE, SIZE), 255, np.uint8)
    alpha[: SIZE // 2, : SIZE // 2] = 0
    on_white = np.where(alpha[..., None] == 0, np.uint8(255), colours)
    grey_rgb = np.repeat(grey[..., None], 3, -1)
    if mode in ("I;16", "I;16B", "I", "F"):
        dtype = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}[mode]
        pixels = (grey.astype(np.int64) * 257).astype(dtype)
        return Picture(Image.frombytes(mode, (SIZE, SIZE), pixels.tobytes()), grey_rgb)
    if mode == "1":
        black_and_white = np.where(grey_rgb > 127, np.uint8(255), np.uint8(0))
        return Picture(Image.fromarray(black_and_white[..., 0]).convert("1"), black_and_white)
    if mode in ("L", "LA"):
        image = Image.fromarray(grey)
        if mode == "LA":
            image.putalpha(Image.fromarray(alpha))
        return Picture(image, np.where(alpha[..., None] == 0, np.uint8(255), grey_rgb) if mode == "LA" else grey_rgb)
    if mode.startswith("P"):
        image = Image.fromarray(colours).quantize(64)
        rgb = np.asarray(image.convert("RGB"))
        if "transparent" in mode:
            index = np.asarray(image)[0, 0]
            image.info["transparency"] = int(index)
            rgb = np.where((np.asarray(image) == index)[..., None], np.uint8(255), rgb)
        return Picture(image, rgb)
    image = Image.fromarray(colours)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(alpha))
        return Picture(image, on_white)
    if mode == "LAB":
        lab = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert lab is not None
        back = ImageCms.profileToProfile(
            lab, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        return Picture(lab, np.asarray(back))  # 8 bits of CIELAB lose up to 32 at the edge of sRGB
    return Picture(image.convert(mode), colours)


def encode(picture: Picture, container: str) -> bytes | None:
    """The file; None where Pillow does not write this mode there, or converts it to one that holds less."""
    kind, options = CONTAINERS[container]
    file = io.BytesIO()
    transparency = {"transparency": picture.image.info["transparency"]} if "transparency" in picture.image.info else {}
    try:
        picture.image.save(file, kind, **options, **transparency)
    except (OSError, ValueError, KeyError):
        return None
    with Image.open(file) as written:
        is_wide = written.mode in ("I", "F") or written.mode.startswith("I;16")
        is_transparent = "A" in written.mode or "transparency" in written.info
    mode = picture.image.mode
    had_transparency = mode in ("LA", "RGBA") or bool(transparency)
    loses = (mode[0] in "IF" and not is_wide) or (had_transparency and not is_transparent)
    return None if loses else file.getvalue()


def deviation(mode: str, container: str) -> int | str:
    """The largest deviation of a channel; "not written", or "refused" with the reason."""
    picture = make_picture(mode)
    content = encode(picture, container)
    if content is None:
        return "not written"
    try:
        decoded = decode(content, SIZE).astype(int)
    except CorruptImage as error:
        return f"refused: {error}"
    return int(np.abs(decoded - picture.rgb).max())


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.simplefilter("ignore")
    rows, reasons = [], dict[str, str]()
    for mode in MODES:
        cells = [deviation(mode, container) for container in CONTAINERS]
        for cell in cells:
            if isinstance(cell, str) and cell.startswith("refused"):
                reasons[mode] = cell.removeprefix("refused: ")
        texts = ["" if c == "not written" else "refused" if isinstance(c, str) else str(c) for c in cells]
        rows.append([mode, *texts])
    refused = "\n".join(f"- {mode}: {reason}" for mode, reason in reasons.items())
    body = (
        f"Largest deviation of a channel, 0 to 255, of {SIZE}x{SIZE} pixels; empty: Pillow does not write this mode there, "
        f"or only with less in it. Lossy: {', '.join(LOSSY)}.\n\n{table(['mode', *CONTAINERS], rows)}\n\n"
        f"Refused, in one line each:\n\n{refused}"
    )
    publish("image_modes", "Image modes and containers", "python -m benchmarks.image_modes", body, {"rows": rows})


if __name__ == "__main__":
    main()
