"""Decoding one image file, of any size, mode and type, to uint8 RGB of one size. Pillow is imported with the first."""

import io
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

RULE = "shorter side to the size (bilinear, antialiased), centre crop, turned as EXIF says, on white; 1"
"""What `decode` does; part of the fingerprint, so its number is raised when it changes."""
ORIENTATION = 0x0112
MAX_PIXELS = 178_956_970
"""Pillow takes larger images for decompression bombs; checked here whatever `Image.MAX_IMAGE_PIXELS` is set to."""
FORMATS = ("JPEG", "MPO", "PNG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "GIF", "JPEG2000", "PCX", "TGA")
"""The formats of files with `IMAGE_SUFFIXES`. Not all that Pillow opens: for EPS it would start another program."""
TRANSPARENT = ("RGBA", "RGBa", "LA", "La", "PA")


class CorruptImage(Exception):
    """A file that cannot be decoded as an image, with a short reason."""


def decode(content: bytes, size: int) -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    The shorter side becomes `size`, and the centre is cropped. EXIF orientation is applied. Transparent parts become white;
    of several frames the first is taken; 16-bit grey is divided by 257.

    Returns:
        uint8 [size, size, 3].

    Raises:
        CorruptImage: empty, truncated, not an image, or one that cannot be converted to RGB.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise CorruptImage("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise CorruptImage(
                    f"it would have {image.width:,} x {image.height:,} pixels; {MAX_PIXELS:,} at most are read"
                )
            image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a half, a quarter or an eighth
            image.load()
            return np.asarray(_resize(_to_rgb(_apply_orientation(image)), size))
    except (MemoryError, CorruptImage):
        raise
    except UnidentifiedImageError:
        raise CorruptImage("not an image that Pillow knows") from None
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        raise CorruptImage(first_line(error)) from None


def resize_array(image: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.uint8]:
    """An image uint8 [height, width, 1 or 3] as `decode` makes it, uint8 [size, size, channels]: in grey (1) or RGB (3)."""
    from PIL import Image

    pixels = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("L" if channels == 1 else "RGB")
    return np.asarray(_resize(pixels, size)).reshape(size, size, channels)


def _resize(image: "Image", size: int) -> "Image":
    """The centre square of an image, `size` pixels each way."""
    from PIL.Image import Resampling

    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((size, size), Resampling.BILINEAR, (left, top, left + side, top + side))


@cache
def _formats() -> list[str]:
    """Those of `FORMATS` that the installed Pillow knows."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _apply_orientation(image: "Image") -> "Image":
    """Apply the EXIF orientation. Broken EXIF data is ignored."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return image
    transpose = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }.get(orientation)  # fmt: skip
    return image if transpose is None else image.transpose(transpose)


def _to_rgb(image: "Image") -> "Image":
    """The image in 8-bit RGB."""
    from PIL import Image

    if image.mode == "F":
        raise CorruptImage("its pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((wide // 257).astype(np.uint8)).convert("RGB")
    if image.mode in TRANSPARENT or "transparency" in image.info:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
