"""Masks of a subset ensemble: which samples a member is trained on. A pure function of (seed, member), balanced."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from datapruning.utils.hashing import U64, hash_ids, splitmix64

MASK_KEY = 0x3A5C5
MAX_PARTS = 20


def num_parts(inside: float) -> tuple[int, int]:
    """(parts, parts left out): the share of samples inside as the nearest fraction with at most 20 parts; 0.7 is (10, 3)."""
    share = Fraction(inside).limit_denominator(MAX_PARTS)
    share = min(max(share, Fraction(1, MAX_PARTS)), Fraction(MAX_PARTS - 1, MAX_PARTS))
    return share.denominator, share.denominator - share.numerator


def member_mask(member: int, labels: NDArray[np.int64], inside: float, seed: int) -> NDArray[np.bool_]:
    """Which samples member `member` is trained on, bool [N].

    Members come in blocks, of 10 where 70% are inside: a block cuts the samples at random into as many parts, within
    each class, and each of its members leaves out other parts. So in a whole block every sample is outside equally
    often, and every member has its share of every class; independent draws would leave some samples outside half as
    often as others, and their error bars twice as long.

    Args:
        member: its number, from 0.
        labels: int64 [N].
        inside: share of the samples that a member is trained on (see `num_parts`).
        seed: of all masks.
    """
    parts, out = num_parts(inside)
    block, place = divmod(member, parts)
    ids = np.arange(len(labels))
    order = np.lexsort((hash_ids(ids, MASK_KEY, seed, block), labels))
    # a class begins at a part of its own, or the first parts would get the remainder of every class
    first = splitmix64(np.unique(labels, return_inverse=True)[1].astype(U64) + U64(1 + block)) % U64(parts)
    rank_in_class = np.empty(len(ids), np.int64)
    sizes = np.unique(labels, return_counts=True)[1]
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank_in_class[order] = np.arange(len(ids)) - starts
    part = (rank_in_class + first.astype(np.int64)) % parts
    left_out: NDArray[np.bool_] = (part - place * out) % parts < out
    return ~left_out
