"""Mixed views for students: a box of one image is covered by the same box of another (CutMix, Yun et al. 2019).

A mixed view is a pure function of (view seed, view number, sample id, set of kept ids). The partner is drawn by hash
from the kept ids, so no pruned sample is used; in return, soft labels of mixed views are valid for
one subset only (`CutMix.digest`). Teachers and the scorers' proxies see no mixed images.
"""

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.config.augmentation import CutMixPolicy
from datapruning.data.augment.numba_kernels import compiled, paste_boxes
from datapruning.utils.hashing import U64, bounded_ints, hash_ids

MIX_KEY = 0x3117E5


class CutMixParams(NamedTuple):
    """The random parameters of n samples.

    Attributes:
        mixed: bool [n], which samples are mixed.
        partners: int64 [n], ids of the samples that cover them.
        side: float64 [n], sides of the box as a fraction of the image's.
        centre: uint64 [n], random bits: upper half for the box's centre down, lower half for it right.
    """

    mixed: NDArray[np.bool_]
    partners: NDArray[np.int64]
    side: NDArray[np.float64]
    centre: NDArray[np.uint64]

    def slice(self, begin: int, end: int) -> "CutMixParams":
        """The parameters of samples begin..end-1: `mixed` of all of them, the others of the mixed ones alone."""
        mixed = self.mixed[begin:end]
        rows = begin + np.flatnonzero(mixed)
        return CutMixParams(mixed, self.partners[rows], self.side[rows], self.centre[rows])

    def boxes(self, height: int, width: int) -> NDArray[np.int64]:
        """int64 [n, 4]: top, bottom, left, right in pixels of an image of this size; bottom and right exclusive."""
        down = _box_extent(bounded_ints(self.centre, height), self.side, height)
        right = _box_extent(bounded_ints(self.centre << U64(32), width), self.side, width)
        return np.stack([*down, *right], axis=1)


@dataclass(frozen=True, eq=False)
class CutMix:
    """A CutMix policy bound to the view seed and to a subset: its kept ids, int64, sorted and unique."""

    policy: CutMixPolicy
    seed: int
    subset_ids: NDArray[np.int64]

    @property
    def digest(self) -> str:
        """A hash that names the kept ids."""
        return hashlib.sha256(self.subset_ids.astype("<i8").tobytes()).hexdigest()[:16]

    def sample_params(self, ids: NDArray[np.int64], view: int) -> CutMixParams:
        """The parameters of sample ids int64 [n] in this view."""
        mixed, partner, area, centre = (hash_ids(ids, MIX_KEY, self.seed, view, purpose) for purpose in range(4))
        return CutMixParams(
            _uniform(mixed) < self.policy.prob,
            self.subset_ids[bounded_ints(partner, len(self.subset_ids))],
            np.sqrt(_uniform(area)),  # correctly rounded by IEEE 754: the same on every machine
            centre,
        )


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


def mixing_lambda(boxes: NDArray[np.int64], mixed: NDArray[np.bool_], height: int, width: int) -> NDArray[np.float32]:
    """The uncovered fraction of each of n images, float32 [n]: 1 where nothing is mixed; `boxes` of the mixed ones."""
    lam = np.ones(len(mixed), np.float32)
    lam[mixed] = 1 - (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2]) / (height * width)
    return lam


def paste(views: Tensor, others: Tensor, rows: NDArray[np.int64], boxes: NDArray[np.int64]) -> None:
    """Cover boxes, in place. A kernel of `numba_kernels.py` does it on a CPU; this serves every other device.

    Args:
        views: float32 [n, channels, height, width], channels last in memory.
        others: float32 [k, channels, height, width], likewise: views of the partners.
        rows: int64 [k], the row in `views` of each partner, all different.
        boxes: int64 [k, 4], see `CutMixParams.boxes`.
    """
    run = compiled(paste_boxes) if views.device.type == "cpu" else None
    if run is not None:
        run(*(t.permute(0, 2, 3, 1).numpy() for t in (views, others)), rows, boxes)
        return
    index = torch.from_numpy(rows).to(views.device, non_blocking=True)
    top, bottom, left, right = torch.from_numpy(boxes).to(views.device, non_blocking=True).unbind(1)
    inside = _inside(top, bottom, views.shape[2])[:, :, None] & _inside(left, right, views.shape[3])[:, None, :]
    views.index_copy_(0, index, torch.where(inside[:, None], others, views.index_select(0, index)))


def _inside(begin: Tensor, end: Tensor, length: int) -> Tensor:
    """Bool [k, length]: positions from begin to end - 1."""
    position = torch.arange(length, device=begin.device)
    return (position >= begin[:, None]) & (position < end[:, None])
