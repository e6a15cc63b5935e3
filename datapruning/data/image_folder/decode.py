"""Decoding one image file, of any size, mode and type, to uint8 RGB of one size. Pillow is imported with the first."""

import io
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datapruning.data.image_folder.pixel_modes import CorruptImage, read_encoding, to_rgb
from datapruning.errors import first_line
from datapruning.io.foreign_files import foreign_kind

if TYPE_CHECKING:
    from PIL.Image import Image

RULE = "shorter side to the size (bilinear, antialiased), centre crop, turned as EXIF says, on white; 2"
"""What `decode` does; part of the fingerprint, so its number is raised when it changes."""
ORIENTATION = 0x0112
MAX_PIXELS = 178_956_970
"""Pillow takes larger images for decompression bombs; checked here whatever `Image.MAX_IMAGE_PIXELS` is set to."""
FORMATS = ("JPEG", "MPO", "PNG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "HEIF", "GIF", "JPEG2000", "PCX", "TGA")
"""The formats of files with `IMAGE_SUFFIXES`. Not all that Pillow opens: for EPS it would start another program."""
HEIC_BRANDS = (b"heic", b"heix", b"mif1", b"msf1")
LOST_DATA = ("premature end", "bad huffman code", "bad arithmetic code", "instead of rst")
"""Warnings of libjpeg, in lower case, after which pixels are made up: it goes on, and the rest comes out grey."""


def decode(content: bytes, size: int, pixel_bounds: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    The shorter side becomes `size`, and the centre is cropped. EXIF orientation is applied. Transparent parts become white;
    of several frames the first is taken. Every mode and bit depth becomes 8-bit RGB, see `pixel_modes.to_rgb`;
    `pixel_bounds` are the values of black and white in pixels of more than 8 bits, in place of what the file says.

    Returns:
        uint8 [size, size, 3].

    Raises:
        CorruptImage: empty, truncated, not an image, or one that cannot surely be converted to RGB.
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
            encoding = read_encoding(image, content, pixel_bounds)
            full_size = image.size
            image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a half, a quarter or an eighth
            if image.format in ("JPEG", "MPO"):
                rgb = _decode_jpeg(content, image, is_reduced=image.size != full_size)
            else:
                image.load()
                rgb = to_rgb(image, encoding)
            return np.asarray(_resize(_apply_orientation(rgb, image), size))
    except (MemoryError, CorruptImage):
        raise
    except UnidentifiedImageError:
        if content[4:8] == b"ftyp" and content[8:12] in HEIC_BRANDS and "HEIF" not in _formats():
            raise CorruptImage("HEIC is read by the package pillow-heif: pip install pillow-heif") from None
        kind = foreign_kind(content)
        raise CorruptImage(f"it is {kind}" if kind else "not an image that Pillow knows") from None
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        raise CorruptImage(first_line(error)) from None


def _decode_jpeg(content: bytes, image: "Image", is_reduced: bool) -> "Image":
    """A JPEG in RGB, at the size of `image`; the bits are Pillow's, which does not pass on libjpeg's warnings.

    Raises:
        CorruptImage: a part of the pixels is lost.
    """
    import simplejpeg
    from PIL import Image

    width, height = image.size if is_reduced else (0, 0)
    try:
        pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=height, min_width=width, strict=True)
    except ValueError as error:
        if any(warning in str(error).lower() for warning in LOST_DATA):
            raise CorruptImage(f"it is truncated or damaged: {first_line(error)}") from None
        image.load()  # a kind of JPEG that the other does not read, or a warning that changes no pixel
        return to_rgb(image, read_encoding(image, content))
    if image.mode == "CMYK":  # its conversion is Pillow's
        image.load()
        return image.convert("RGB")
    return Image.fromarray(pixels)


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
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return [name for name in FORMATS if name in Image.OPEN]


def _apply_orientation(rgb: "Image", image: "Image") -> "Image":
    """`rgb` turned as the EXIF orientation of `image` says. Broken EXIF data is ignored."""
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return rgb
    transpose = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }.get(orientation)  # fmt: skip
    return rgb if transpose is None else rgb.transpose(transpose)
