"""Kernels for views on a CPU: crop, mirror, normalise and cut out in one pass over each image.

The same numbers, bit for bit, as the torch operations in `augmentation.py`, which serve every other device and are the
reference in the tests; three times as fast, because a pixel is touched once. Needs numba.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kernel = Callable[..., None]
U = np.uint64


@cache
def compiled(kernel: Kernel) -> Kernel | None:
    """A kernel, compiled once a machine: numba keeps it on disk. None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        result: Kernel = numba.njit(kernel, cache=True, **options)
    except RuntimeError:  # no folder that numba may write to
        result = numba.njit(kernel, **options)
    return result


def augment_cpu(
    run: Kernel, images: Tensor, params: NDArray[np.int64], crop: int, cutout: int, mean: Tensor, std: Tensor
) -> Tensor:
    """`Augmentation.apply` by `run`, the compiled kernel `augment`, of uint8 images [n, height, width, channels] on the CPU.

    `params` are those of `Augmentation.sample_params`; offsets count from `crop` pixels of zero-padding, and `cutout` is
    the side of the square that is cut out. `mean` and `std` are float32 [width * channels], a row's worth of the channels'
    own. Returns float32 [n, channels, height, width], channels last in memory.
    """
    shape = images.shape
    views = torch.from_numpy(np.empty(tuple(shape), np.float32))  # NumPy asks for huge pages, torch does not: fewer faults
    flat = images.contiguous().view(-1).numpy()
    run(flat, params, *shape[1:], crop, cutout, mean.numpy(), std.numpy(), views.view(-1).numpy())
    return views.permute(0, 3, 1, 2)


def augment(
    images: Any, draws: Any, height: int, width: int, channels: int, crop: int, cutout: int, mean: Any, std: Any, views: Any
) -> None:
    """Everything flat, and positions unsigned: numba then checks for no negative index, and the loops become SIMD."""
    length = width * channels
    row = np.zeros(length, np.uint8)
    for i in range(len(draws)):
        left = draws[i, 1] - crop
        first = min(width, max(0, -left))  # columns first..last of the window lie in the image, perhaps none
        last = max(first, min(width, width - left))
        row[:] = 0
        blank = True
        for y in range(height):
            source = y + draws[i, 0] - crop
            if 0 <= source < height:
                blank = False
                start = U((i * height + source) * length + (first + left) * channels)
                if not draws[i, 2]:
                    begin = U(first * channels)
                    for k in range(U((last - first) * channels)):
                        row[begin + k] = images[start + k]
                elif channels == 1:
                    end = U(width - 1 - first)
                    for k in range(U(last - first)):
                        row[end - k] = images[start + k]
                elif channels == 3:
                    end = U((width - 1 - first) * 3)
                    for k in range(U(last - first)):
                        to, of = end - U(3) * k, start + U(3) * k
                        row[to], row[to + U(1)], row[to + U(2)] = images[of], images[of + U(1)], images[of + U(2)]
                else:
                    end = U((width - 1 - first) * channels)
                    for k in range(U(last - first)):
                        for c in range(U(channels)):
                            row[end - U(channels) * k + c] = images[start + U(channels) * k + c]
            elif not blank:  # below the image: zeros again
                row[:] = 0
                blank = True
            offset = U((i * height + y) * length)
            for j in range(U(length)):
                views[offset + j] = (np.float32(row[j]) - mean[j]) / std[j]
        top, side = draws[i, 3] - cutout // 2, draws[i, 4] - cutout // 2
        for y in range(max(0, top), min(height, top + cutout)):
            offset = U((i * height + y) * length)
            for j in range(U(max(0, side) * channels), U(max(0, min(width, side + cutout)) * channels)):
                views[offset + j] = np.float32(0)


def paste_boxes(views: Any, others: Any, rows: Any, boxes: Any) -> None:
    """Of float32 [n, height, width, channels] and [k, height, width, channels]."""
    for i in range(len(rows)):
        top, bottom, left, right = boxes[i]
        for y in range(top, bottom):
            for x in range(left, right):
                for c in range(views.shape[3]):
                    views[rows[i], y, x, c] = others[i, y, x, c]


def resample_boxes(
    images: Any, height: int, width: int, channels: int, upper: Any, lower: Any, down: Any, left: Any, right: Any,
    across: Any, out: Any,
) -> None:  # fmt: skip
    """By `crops.BilinearWeights`; 2048 is `crops.ONE`, 2097152 half of its square, by which sums are divided.

    Rows are resampled across first, and kept: neighbouring rows of the output share them.
    """
    rows, columns = upper.shape[1], left.shape[1]
    length = columns * channels
    above, beneath = np.zeros(length, np.int32), np.zeros(length, np.int32)
    for i in range(len(upper)):
        held_rows = np.array([-1, -1])  # which rows of the image `above` and `beneath` are
        for y in range(rows):
            if held_rows[1] == upper[i, y]:
                above, beneath = beneath, above
                held_rows[0], held_rows[1] = held_rows[1], held_rows[0]
            for which in range(2):
                source_row = lower[i, y] if which else upper[i, y]
                if held_rows[which] == source_row:
                    continue
                held_rows[which] = source_row
                row = beneath if which else above
                first = U((i * height + source_row) * width * channels)
                if channels == 3:
                    for x in range(columns):
                        near, far = first + U(left[i, x] * 3), first + U(right[i, x] * 3)
                        more = np.int32(across[i, x])
                        less = np.int32(2048) - more
                        k = U(3 * x)
                        row[k] = images[near] * less + images[far] * more
                        row[k + U(1)] = images[near + U(1)] * less + images[far + U(1)] * more
                        row[k + U(2)] = images[near + U(2)] * less + images[far + U(2)] * more
                else:
                    for x in range(columns):
                        near, far = first + U(left[i, x] * channels), first + U(right[i, x] * channels)
                        more = np.int32(across[i, x])
                        less = np.int32(2048) - more
                        for c in range(U(channels)):
                            row[U(x * channels) + c] = images[near + c] * less + images[far + c] * more
            more = np.int32(down[i, y])
            less = np.int32(2048) - more
            offset = U((i * rows + y) * length)
            for j in range(U(length)):
                mixed = above[j] * less + beneath[j] * more
                out[offset + j] = np.uint8((mixed + np.int32(2097152)) >> np.int32(22))
