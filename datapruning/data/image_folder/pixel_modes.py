"""Conversion of what Pillow decodes to 8-bit RGB, whatever the mode, the bit depth and the photometric interpretation.

Pillow leaves three things to its users: what the numbers of 16 and 32 bits mean, whether a fourth channel is transparency,
and transparent colours that are given in the depth of the file. What the file does not say surely is refused.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

BITS, PHOTOMETRIC, MAX_SAMPLE_VALUE, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 281, 338, 339
"""Tags of TIFF."""
WHITE_IS_ZERO = 0
SIGNED, FLOAT = 2, 3
"""Values of the TIFF tag SampleFormat."""
MAX_UINT16, MAX_UINT12 = 65535, 4095
TGA_DESCRIPTOR, TGA_ALPHA_BITS = 17, 0x0F
"""Byte of a TGA header, and the bits in it that are the number of bits of alpha."""
TRANSPARENT = ("RGBA", "RGBa", "LA", "La", "PA")


class CorruptImage(Exception):
    """A file that cannot be decoded as an image, with a short reason."""


class Encoding(NamedTuple):
    """What a file says of its pixels beside Pillow's mode.

    `max_value` is what white is in a mode of more than 8 bits, None where the file does not say; `is_inverted`: 0 is white
    there. `has_alpha` is False where a channel of alpha is undefined. `transparency_factor` turns a transparent colour into
    8 bits; None where Pillow has dropped bits that it needs.
    """

    max_value: int | None = None
    is_inverted: bool = False
    has_alpha: bool = True
    transparency_factor: int | None = 1


def read_encoding(image: "Image", content: bytes) -> Encoding:
    """What the header of a file says; `image` is opened, but its pixels are not loaded.

    Raises:
        CorruptImage: pixels that are signed or floating-point numbers, or of 32 bits: their range is unknown.
    """
    if image.format == "TIFF":
        return _tiff_encoding(image)
    if image.format == "TGA":
        return Encoding(has_alpha=bool(content[TGA_DESCRIPTOR] & TGA_ALPHA_BITS))
    if image.format == "PNG":
        tiles = getattr(image, "tile", ())
        raw_mode = str(tiles[0][3]) if tiles else ""
        factors = {"1": 255, "L;2": 85, "L;4": 17, "RGB;16B": None}
        return Encoding(transparency_factor=factors.get(raw_mode, 1))
    if image.format == "PPM":
        return Encoding(max_value=MAX_UINT16)  # Pillow scales by the file's own maximum
    return Encoding()


def _tiff_encoding(image: "Image") -> Encoding:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits, kinds = _numbers(tags.get(BITS, 1)), _numbers(tags.get(SAMPLE_FORMAT, 1))
    if FLOAT in kinds:
        raise CorruptImage("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if SIGNED in kinds or max(bits) > 16:
        kind = "signed numbers" if SIGNED in kinds else f"numbers of {max(bits)} bits"
        raise CorruptImage(f"its pixels are {kind} of unknown range; save it with 8 or 16 bits")
    declared = _numbers(tags.get(MAX_SAMPLE_VALUE, ()))
    max_value = declared[0] if declared and 0 < declared[0] < 2 ** max(bits) - 1 else None
    return Encoding(
        max_value=max_value if max(bits) == 16 else 2 ** max(bits) - 1,
        is_inverted=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
        has_alpha=EXTRA_SAMPLES in tags,
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)


def to_rgb(image: "Image", encoding: Encoding) -> "Image":
    """A loaded image in 8-bit RGB, transparent parts on white.

    Raises:
        CorruptImage: what the pixels mean is not sure: floating-point numbers, 12 bits in 16, a transparent colour of
            16 bits a channel, or an image that is wholly transparent.
    """
    if image.mode == "F":
        raise CorruptImage("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _wide_grey_to_rgb(image, encoding)
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    transparent = image.info.get("transparency")
    if image.mode in TRANSPARENT or transparent is not None:
        if not encoding.has_alpha:
            return image.convert("RGBA").convert("RGB")
        return _on_white(image, encoding)
    return image.convert("RGB")


def _wide_grey_to_rgb(image: "Image", encoding: Encoding) -> "Image":
    """Grey of more than 8 bits; white is the largest number of the file's depth."""
    from PIL import Image

    wide = np.asarray(image).astype(np.int64)
    max_value = encoding.max_value or MAX_UINT16
    largest = int(wide.max(initial=0))
    if encoding.max_value is None and 0 < largest <= MAX_UINT12:
        raise CorruptImage(
            f"its 16-bit pixels reach {largest:,} of {MAX_UINT16:,}: nearly black, unless white is less; scale it to 16 bits"
        )
    grey = ((wide.clip(0, max_value) * 255 + max_value // 2) // max_value).astype(np.uint8)
    if encoding.is_inverted:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[wide == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _on_white(image: "Image", encoding: Encoding) -> "Image":
    from PIL import Image

    transparent, factor = image.info.get("transparency"), encoding.transparency_factor
    if transparent is not None and not isinstance(transparent, bytes) and image.mode in ("1", "L", "RGB"):
        if factor is None:
            raise CorruptImage("it has 16 bits a channel and a transparent colour, which is not read; save it with 8 bits")
        image = image.convert("L") if image.mode == "1" else image
        image.info["transparency"] = transparent * factor if isinstance(transparent, int) else transparent
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if not np.asarray(rgba.getchannel("A")).any():
        raise CorruptImage("all of it is transparent; save it without transparency")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _lab_to_rgb(image: "Image") -> "Image":
    """CIELAB (D50, as in ICC profiles) in sRGB."""
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert converted is not None  # None: converted in place, which is not asked for
    return converted
