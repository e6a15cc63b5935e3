"""Mixed views for students: a sample's image is mixed with another's, by CutMix or by mixup.

CutMix (Yun et al. 2019) covers a box of the image by the same box of the other; mixup (Zhang et al. 2018, section 2)
takes the weighted mean of both. A mixed view is a pure function of (view seed, view number, sample id, set of kept ids). The
partner is drawn by hash from the kept ids, so no pruned sample is used; in return, soft labels of mixed views are valid for
one subset only (`Mixing.digest`). Teachers and the scorers' proxies see no mixed images.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.config.augmentation import CutMixPolicy, MixupPolicy
from datapruning.data.augment.numba_kernels import compiled, paste_boxes
from datapruning.utils.hashing import U64, bounded_ints, hash_ids
from datapruning.utils.upload import upload

MIX_KEY = 0x3117E5
QUANTILE_BITS = 16
"""mixup's weights are drawn from a table of 2**16 quantiles, and are the centres of as many intervals of 0..1."""


class MixParams(NamedTuple):
    """The random parameters of n samples.

    Attributes:
        mixed: bool [n], which samples are mixed.
        partners: int64 [n], ids of the samples that they are mixed with.
        side: float64 [n], sides of CutMix's box as a fraction of the image's; 0 where mixup mixes.
        centre: uint64 [n], random bits: upper half for the box's centre down, lower half for it right.
        weight: float64 [n], what mixup weights the sample's own image by; 1 where CutMix mixes.
    """

    mixed: NDArray[np.bool_]
    partners: NDArray[np.int64]
    side: NDArray[np.float64]
    centre: NDArray[np.uint64]
    weight: NDArray[np.float64]

    def slice(self, begin: int, end: int) -> "MixParams":
        """The parameters of samples begin..end-1: `mixed` of all of them, the others of the mixed ones alone."""
        mixed = self.mixed[begin:end]
        rows = begin + np.flatnonzero(mixed)
        return MixParams(mixed, self.partners[rows], self.side[rows], self.centre[rows], self.weight[rows])

    def boxes(self, height: int, width: int) -> NDArray[np.int64]:
        """int64 [n, 4]: top, bottom, left, right in pixels of an image of this size; bottom and right exclusive.

        They are empty where mixup mixes.
        """
        down = _box_extent(bounded_ints(self.centre, height), self.side, height)
        right = _box_extent(bounded_ints(self.centre << U64(32), width), self.side, width)
        return np.stack([*down, *right], axis=1)


@dataclass(frozen=True, eq=False)
class Mixing:
    """The policies bound to the view seed and to a subset: its kept ids, int64, sorted and unique."""

    cutmix: CutMixPolicy
    mixup: MixupPolicy
    seed: int
    subset_ids: NDArray[np.int64]

    @property
    def digest(self) -> str:
        """A hash that names the kept ids."""
        return hashlib.sha256(self.subset_ids.astype("<i8").tobytes()).hexdigest()[:16]

    def sample_params(self, ids: NDArray[np.int64], view: int) -> MixParams:
        """The parameters of sample ids int64 [n] in this view."""
        chance, partner, amount, centre = (hash_ids(ids, MIX_KEY, self.seed, view, purpose) for purpose in range(4))
        method = _uniform(chance)
        mixed = method < self.cutmix.prob + self.mixup.prob
        side = np.sqrt(_uniform(amount))  # correctly rounded by IEEE 754: the same on every machine
        weight = np.ones(len(ids))
        if self.mixup.enabled:
            by_mixup = mixed & (method >= self.cutmix.prob)
            side[by_mixup] = 0
            weight[by_mixup] = beta_quantiles(self.mixup.alpha)[amount[by_mixup] >> U64(64 - QUANTILE_BITS)]
        partners = self.subset_ids[bounded_ints(partner, len(self.subset_ids))]
        return MixParams(mixed, partners, side, centre, weight)


@cache
def beta_quantiles(alpha: float) -> NDArray[np.float64]:
    """float64 [2**16]: numbers that are equally likely under Beta(alpha, alpha), rising.

    They are rounded to the centre of their interval: SciPy's versions differ in the last bits, the table does not. It has
    neither 0 nor 1, and is exact in float32.
    """
    from scipy.special import betaincinv  # takes long to import, and few runs need it

    steps = 2**QUANTILE_BITS
    quantiles = betaincinv(alpha, alpha, (np.arange(steps) + 0.5) / steps)
    rounded: NDArray[np.float64] = (np.minimum(np.floor(quantiles * steps), steps - 1) + 0.5) / steps
    return rounded


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1), in steps of 2**-24."""
    return (bits >> U64(40)).astype(np.float64) / 2**24


def _box_extent(
    centre: NDArray[np.int64], side: NDArray[np.float64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Begin and end of a run of `side` * `length` pixels around each centre, cut off at the border."""
    pixels = np.floor(side * length + 0.5).astype(np.int64)
    begin = centre - pixels // 2
    return np.maximum(begin, 0), np.minimum(begin + pixels, length)


def mixing_lambda(params: MixParams, height: int, width: int) -> NDArray[np.float32]:
    """The weight of each sample's own label, float32 [n]: its share of the image; 1 where nothing is mixed.

    `params` are those of a slice, which has only the mixed samples' boxes and weights.
    """
    lam, boxes = np.ones(len(params.mixed), np.float32), params.boxes(height, width)
    covered = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2]) / (height * width)
    lam[params.mixed] = params.weight * (1 - covered)
    return lam


def blend(views: Tensor, others: Tensor, rows: NDArray[np.int64], weight: NDArray[np.float64]) -> None:
    """Weighted means of images and their partners, in place: the same bits on every device.

    Args:
        views: float32 [n, channels, height, width].
        others: float32 [k, channels, height, width]: views of the partners.
        rows: int64 [k], the row in `views` of each partner, all different.
        weight: float64 [k], those of the images in `views`; where it is 1 nothing is changed.
    """
    changed = np.flatnonzero(weight < 1)
    if not changed.size:
        return
    weights = (upload(w[changed, None, None, None].astype(np.float32), views.device) for w in (weight, 1 - weight))
    image_weights, partner_weights = weights
    image_rows, partner_rows = upload(rows[changed], views.device), upload(changed, views.device)
    mixed = views.index_select(0, image_rows).mul_(image_weights)
    mixed.add_(others.index_select(0, partner_rows).mul_(partner_weights))
    views.index_copy_(0, image_rows, mixed)


def paste(views: Tensor, others: Tensor, rows: NDArray[np.int64], index: Tensor, boxes: NDArray[np.int64]) -> None:
    """Cover boxes, in place. A kernel of `numba_kernels.py` does it on a CPU; this serves every other device.

    Args:
        views: float32 [n, channels, height, width], channels last in memory.
        others: float32 [k, channels, height, width], likewise: views of the partners.
        rows: int64 [k], the row in `views` of each partner, all different.
        index: the same on the device of the views.
        boxes: int64 [k, 4], see `MixParams.boxes`.
    """
    run = compiled(paste_boxes) if views.device.type == "cpu" else None
    if run is not None:
        run(*(t.permute(0, 2, 3, 1).numpy() for t in (views, others)), rows, boxes)
        return
    top, bottom, left, right = upload(boxes, views.device).unbind(1)
    inside = _inside(top, bottom, views.shape[2])[:, :, None] & _inside(left, right, views.shape[3])[:, None, :]
    views.index_copy_(0, index, torch.where(inside[:, None], others, views.index_select(0, index)))


def _inside(begin: Tensor, end: Tensor, length: int) -> Tensor:
    """Bool [k, length]: positions from begin to end - 1."""
    position = torch.arange(length, device=begin.device)
    return (position >= begin[:, None]) & (position < end[:, None])
