"""FFCV's file format, version 2, as far as the cache uses it: arrays of bytes and whole numbers.

A file is a header, a description of each field, the table of samples, pages that hold the images, and the table of
allocations. The types are those of FFCV's module `types`; reading them takes NumPy alone, while importing FFCV compiles for
seconds what only its own loader runs.
"""

import numpy as np
from numpy.typing import NDArray

VERSION = 2
INTEGER, ARRAY = 1, 4
"""Types of fields."""
FIELDS = {"image": ARRAY, "label": INTEGER, "id": INTEGER}
"""The fields of a cache, and their types."""
HEADER = np.dtype(
    [("version", "<u2"), ("num_fields", "<u2"), ("page_size", "<u4"), ("num_samples", "<u8"), ("alloc_table_ptr", "<u8")],
    align=True,
)
FIELD = np.dtype([("type_id", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)], align=True)
ARRAY_ARGUMENTS = np.dtype([("shape", "<u8", 32), ("type_length", "<u8")])
"""The arguments of an array field: its shape, padded with zeros, and the length of the JSON of its type, which follows."""
UINT8 = b'[["", "|u1"]]'
"""The JSON of the type uint8."""
SAMPLE = np.dtype([("image", "<u8"), ("label", "<i8"), ("id", "<i8")])
"""A row of the table of samples; `image` is the position of its bytes in the file."""
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])


def image_shape(arguments: NDArray[np.uint8]) -> tuple[int, ...]:
    """The shape of the images, from the arguments uint8 [1024] of their field.

    Raises:
        ValueError: they are no arrays of three dimensions of uint8.
    """
    header = arguments[: ARRAY_ARGUMENTS.itemsize].view(ARRAY_ARGUMENTS)[0]
    description = arguments[ARRAY_ARGUMENTS.itemsize :][: int(header["type_length"])].tobytes()
    if description != UINT8:
        raise ValueError("images are no uint8 arrays")
    shape = np.trim_zeros(header["shape"], "b").tolist()
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"images of shape {shape}")
    return tuple(shape)
