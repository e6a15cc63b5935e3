"""Random resized crops: boxes drawn by hash, resampled in whole numbers. The same bits on every machine and device.

As torchvision's `RandomResizedCrop` (Szegedy et al. 2015): a box of uniform area and log-uniform aspect ratio, anywhere in
the image; after ten that do not fit, the largest in the centre. Drawing takes integers, + - * / and square roots,
which IEEE 754 rounds correctly everywhere. Resampling is bilinear between the two nearest pixels each way, pixel centres at
halves, the border repeated, positions rounded to 1/2048 of a pixel; nothing is smoothed before, so images should be
stored at not much more than the size of the views. It works on whole numbers and rounds once, at the end.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment.numba_kernels import compiled, resample_boxes
from datapruning.utils.hashing import U64, bounded_ints, hash_ids

BOX_KEY = 0xB0C5
NUM_TRIES = 10
BITS = 11
ONE = 1 << BITS
"""A pixel in fixed-point units; weights of a pixel and the next add up to it. 255 * ONE * ONE fits in 31 bits."""
MAX_PIXELS = 2**21
"""Pixels that torch resamples at once: products of about 100 MB."""


def random_resized_boxes(
    ids: NDArray[np.int64], policy: AugmentPolicy, view: int, height: int, width: int
) -> NDArray[np.int64]:
    """int64 [n, 4]: top, left, height and width of each sample's box in an image of `height` x `width`."""
    (low, high), (narrow, wide) = policy.scale, policy.ratio
    sides = np.empty((len(ids), 2), np.int64)
    rows = np.arange(len(ids))
    for attempt in range(NUM_TRIES):
        bits = hash_ids(ids[rows], BOX_KEY, policy.seed, view, attempt)
        area = height * width * (low + (high - low) * ((bits >> U64(40)).astype(np.float64) / 2**24))
        ratio = _log_uniform(bits, narrow, wide)
        drawn = np.floor(np.sqrt(np.stack([area / ratio, area * ratio], axis=1)) + 0.5).astype(np.int64)
        fits = ((drawn >= 1) & (drawn <= (height, width))).all(1)
        sides[rows[fits]] = drawn[fits]
        rows = rows[~fits]
        if not rows.size:
            break
    bits = hash_ids(ids, BOX_KEY, policy.seed, view, NUM_TRIES)
    margins = np.array([height, width]) - sides
    top, left = bounded_ints(bits, margins[:, 0] + 1), bounded_ints(bits << U64(32), margins[:, 1] + 1)
    boxes = np.column_stack([top, left, sides])
    boxes[rows] = _central_box(height, width, narrow, wide)
    return boxes


def _log_uniform(bits: NDArray[np.uint64], low: float, high: float) -> NDArray[np.float64]:
    """From `low` to `high`: low * (high / low) ** u, u of 16 bits, as a product of repeated square roots of high / low."""
    root, drawn = high / low, np.full(len(bits), low)
    for bit in range(39, 23, -1):
        root = math.sqrt(root)
        drawn = np.where((bits >> U64(bit)) & U64(1), drawn * root, drawn)
    return drawn


def _central_box(height: int, width: int, narrow: float, wide: float) -> tuple[int, int, int, int]:
    """The largest box of an allowed ratio, in the centre."""
    box_height = min(height, max(1, math.floor(width / narrow + 0.5)))
    box_width = min(width, max(1, math.floor(height * wide + 0.5)))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


@lru_cache(16)
def _range(begin: int, end: int, step: int, device: torch.device) -> Tensor:
    """`torch.arange`, made once. Nothing may write into it."""
    return torch.arange(begin, end, step, device=device)


class BilinearWeights(NamedTuple):
    """The positions of output pixels along one axis of n boxes, int64 [n, size] each: the pixels before and after, counted
    from the image's edge, and the weight of the latter in 1/`ONE`.
    """

    before: Tensor
    after: Tensor
    weight: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> "BilinearWeights":
        """The function of each tensor."""
        return BilinearWeights(*map(function, self))


def bilinear_weights(begin: Tensor, length: Tensor, size: int) -> BilinearWeights:
    """`size` output pixels, evenly over `length` pixels from `begin`, both int64 [n] or, for k axes at once, [n, k]."""
    begin, length = begin[..., None], length[..., None]
    numerators = (
        (_range(1, 2 * size, 2, begin.device) * length).mul_(ONE).add_(size - size * ONE)
    )  # of the centres, in 1 / (2 * size * ONE) of a pixel
    positions = numerators.div_(2 * size, rounding_mode="floor").clamp_(min=0).minimum((length - 1) * ONE)
    before = positions >> BITS
    after = (before + 1).minimum(length - 1).add_(begin)
    return BilinearWeights(before.add_(begin), after, positions.bitwise_and_(ONE - 1))


def resample(images: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """The boxes (int64 [n, 4] on the images' device, see `random_resized_boxes`) of uint8 images [n, h, w, channels].

    A kernel of `numba_kernels.py` does it on a CPU; torch serves every other device. Returns uint8 [n, height, width,
    channels].
    """
    if height == width:  # half as many launches
        both = bilinear_weights(boxes[:, :2], boxes[:, 2:], height)
        down, across = both.map(lambda tensor: tensor[:, 0]), both.map(lambda tensor: tensor[:, 1])
    else:
        down, across = bilinear_weights(boxes[:, 0], boxes[:, 2], height), bilinear_weights(boxes[:, 1], boxes[:, 3], width)
    run = compiled(resample_boxes) if images.device.type == "cpu" else None
    if run is not None:
        out = torch.from_numpy(np.empty((len(images), height, width, images.shape[3]), np.uint8))  # see `augment_cpu`
        weights = (tensor.contiguous().numpy() for tensor in (*down, *across))
        run(images.contiguous().view(-1).numpy(), *images.shape[1:], *weights, out.view(-1).numpy())
        return out
    step = max(1, MAX_PIXELS // (height * max(width, images.shape[2])))
    parts = [
        _resample_torch(images[rows], down.map(lambda tensor: tensor[rows]), across.map(lambda tensor: tensor[rows]))  # noqa: B023 (used at once)
        for rows in (slice(start, start + step) for start in range(0, len(images), step))
    ]
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else images.new_empty(0, height, width, images.shape[3])


def _resample_torch(images: Tensor, down: BilinearWeights, across: BilinearWeights) -> Tensor:
    count, height, width, channels = images.shape
    device, rows = images.device, images.reshape(count * height, width * channels)
    first, channel = _range(0, count * height, height, device)[:, None], _range(0, channels, 1, device)

    def lines(y: Tensor, weight: Tensor) -> Tensor:
        pixels = rows.index_select(0, (first + y).view(-1)).view(count, y.shape[1], -1)
        return pixels.to(torch.int32).mul_(weight[..., None])

    weight = down.weight.to(torch.int32)
    mixed = lines(down.before, ONE - weight).add_(lines(down.after, weight))  # [n, result's height, w * channels]

    def columns(x: Tensor, weight: Tensor) -> Tensor:
        index = (x[..., None] * channels + channel).view(count, 1, -1)
        pixels = mixed.gather(2, index.expand(-1, mixed.shape[1], -1))
        return pixels.mul_(weight[:, None])

    weight = across.weight.to(torch.int32).repeat_interleave(channels, 1)
    mixed = columns(across.before, ONE - weight).add_(columns(across.after, weight)).add_(1 << (2 * BITS - 1))
    return mixed.bitwise_right_shift_(2 * BITS).to(torch.uint8).view(count, mixed.shape[1], -1, channels)
