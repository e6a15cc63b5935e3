"""Conversion of what Pillow decodes to 8-bit RGB, whatever the mode, the bit depth and the photometric interpretation.

Pillow leaves three things to its users: what the numbers of 16 and 32 bits mean, whether a fourth channel is transparency,
and transparent colours that are given in the depth of the file. What the file does not say surely is refused.
"""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from datapruning.data.pixel_range import scale_to_8_bits

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
MAX_UINT12_CUT = MAX_UINT12 >> 8
BLANK = rb"(?:\s|#[^\r\n]*[\r\n])+"
PNM_MAX_VALUE = re.compile(rb"P[2356]" + 2 * (BLANK + rb"\d+") + BLANK + rb"(\d{1,5})\s")
"""The header of PGM and PPM: width, height and the largest value, with comments between them."""
GIVE_RANGE = "save it with 8 or 16 bits, or give the pixel range"
TRANSPARENT = ("RGBA", "RGBa", "LA", "La", "PA")


class CorruptImage(Exception):
    """A file that cannot be decoded as an image, with a short reason."""


class Encoding(NamedTuple):
    """What a file says of its pixels beside Pillow's mode.

    `max_value` is what white is in a mode of more than 8 bits, None where the file does not say; `bounds` are the values of
    black and white that the user gives instead. `is_inverted`: 0 is white there. `has_alpha` is False where a channel of
    alpha is undefined. `transparency_factor` turns a transparent colour into 8 bits; None where Pillow has dropped bits that
    it needs. `is_cut`: Pillow has dropped, or rounded to, the upper 8 of 16 bits a channel.
    """

    max_value: int | None = None
    is_inverted: bool = False
    has_alpha: bool = True
    transparency_factor: int | None = 1
    is_cut: bool = False
    bounds: tuple[float, float] | None = None


def read_encoding(image: "Image", content: bytes, bounds: tuple[float, float] | None = None) -> Encoding:
    """What the header of a file says; `image` is opened, but its pixels are not loaded.

    `bounds` are the values of black and white in pixels of more than 8 bits; None: what the file says.

    Raises:
        CorruptImage: pixels that are signed or floating-point numbers, or of 32 bits, without bounds.
    """
    return _file_encoding(image, content, bounds is not None)._replace(bounds=bounds)


def _file_encoding(image: "Image", content: bytes, has_bounds: bool) -> Encoding:
    if image.format == "TIFF":
        return _tiff_encoding(image, has_bounds)
    if image.format == "TGA":
        return Encoding(has_alpha=bool(content[TGA_DESCRIPTOR] & TGA_ALPHA_BITS))
    if image.format == "PNG":
        tiles = getattr(image, "tile", ())
        raw_mode = str(tiles[0][3]) if tiles else ""
        factors = {"1": 255, "L;2": 85, "L;4": 17, "RGB;16B": None}
        return Encoding(transparency_factor=factors.get(raw_mode, 1), is_cut=raw_mode in ("RGB;16B", "RGBA;16B", "LA;16B"))
    if image.format == "PPM":
        header = PNM_MAX_VALUE.match(content)  # Pillow scales by the file's own maximum
        if header is None or int(header[1]) != MAX_UINT16:
            return Encoding(max_value=MAX_UINT16)
        return Encoding(is_cut=image.mode == "RGB")  # the largest number of 16 bits says as little as that of a PNG
    return Encoding()


def _tiff_encoding(image: "Image", has_bounds: bool) -> Encoding:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits, kinds = _numbers(tags.get(BITS, 1)), _numbers(tags.get(SAMPLE_FORMAT, 1))
    is_float = FLOAT in kinds
    if is_float or SIGNED in kinds or max(bits) > 16:
        kind = (
            "floating-point numbers" if is_float else "signed numbers" if SIGNED in kinds else f"numbers of {max(bits)} bits"
        )
        if not has_bounds or max(bits) == 8:  # Pillow takes signed bytes for unsigned ones
            raise CorruptImage(f"its pixels are {kind} of unknown range; {GIVE_RANGE}")
    declared = _numbers(tags.get(MAX_SAMPLE_VALUE, ()))
    max_value = declared[0] if declared and 0 < declared[0] < 2 ** max(bits) - 1 else None
    return Encoding(
        max_value=max_value if max(bits) == 16 else 2 ** max(bits) - 1,
        is_inverted=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
        has_alpha=EXTRA_SAMPLES in tags,
        is_cut=max(bits) == 16 and image.mode in ("RGB", "RGBA", "RGBa", "LA"),
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)


def to_rgb(image: "Image", encoding: Encoding) -> "Image":
    """A loaded image in 8-bit RGB, transparent parts on white.

    Raises:
        CorruptImage: what the pixels mean is not sure: floating-point numbers, 12 bits in 16, a transparent colour of
            16 bits a channel, or an image that is wholly transparent.
    """
    if image.mode == "F" and encoding.bounds is None:
        raise CorruptImage(f"its pixels are floating-point numbers of unknown range; {GIVE_RANGE}")
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _wide_grey_to_rgb(image, encoding)
    if encoding.is_cut:
        _check_cut_channels(image, encoding)
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

    wide = np.asarray(image)
    largest = int(wide.max(initial=0))
    if encoding.bounds is None and encoding.max_value is None and 0 < largest <= MAX_UINT12:
        raise CorruptImage(
            f"its 16-bit pixels reach {largest:,} of {MAX_UINT16:,}: nearly black, unless white is less; {GIVE_RANGE}"
        )
    if encoding.bounds is None:
        max_value = encoding.max_value or MAX_UINT16
        grey = scale_to_8_bits(wide.clip(0, max_value), (0, max_value))
    else:
        grey = scale_to_8_bits(wide, encoding.bounds)
    if encoding.is_inverted:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[wide == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _check_cut_channels(image: "Image", encoding: Encoding) -> None:
    """Refuse colours of 16 bits a channel that are dark in the 8 bits that Pillow reads, or that have another range.

    Raises:
        CorruptImage: Such an image.
    """
    largest = int(np.asarray(image)[..., : len(image.getbands()) - (image.mode != "RGB")].max(initial=0))
    rounding = 1 if image.format == "PPM" else 0
    if encoding.bounds is None and 0 < largest <= MAX_UINT12_CUT + rounding:
        raise CorruptImage(
            f"its channels of 16 bits reach about {256 * largest + 255:,} of {MAX_UINT16:,}: nearly black, unless white is "
            f"less; save it with 8 bits, or say that the pixel range is 0..{MAX_UINT16}"
        )
    if encoding.bounds not in (None, (0, MAX_UINT16)):
        raise CorruptImage(
            f"it has 16 bits a channel, of which 8 are read: only the range 0..{MAX_UINT16}; save it with 8 bits"
        )


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
