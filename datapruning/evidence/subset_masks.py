"""Masks of a subset ensemble: the samples that a member is trained on, a pure function of (seed, member), balanced."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from datapruning.utils.hashing import U64, hash_ids, splitmix64

MASK_KEY = 0x3A5C5
MAX_PARTS = 20


def num_parts(subset_fraction: float) -> tuple[int, int]:
    """(parts, excluded parts): the nearest fraction with at most `MAX_PARTS` parts; 0.7 is (10, 3)."""
    share = Fraction(subset_fraction).limit_denominator(MAX_PARTS)
    share = min(max(share, Fraction(1, MAX_PARTS)), Fraction(MAX_PARTS - 1, MAX_PARTS))
    return share.denominator, share.denominator - share.numerator


def member_mask(member: int, labels: NDArray[np.int64], subset_fraction: float, seed: int) -> NDArray[np.bool_]:
    """The samples that member number `member`, from 0, is trained on, bool [N]; labels int64 [N].

    Members come in blocks, of 10 for a fraction of 70%: a block divides each class at random into as many parts, and each
    of its members excludes other parts (see `num_parts`). So every sample is excluded equally often within a block, and
    every member has the same fraction of every class; with independent draws some samples would be excluded half as often
    as others, and their error bars would be twice as long. `seed` is that of all masks.
    """
    parts, num_excluded = num_parts(subset_fraction)
    block, position = divmod(member, parts)
    ids = np.arange(len(labels))
    order = np.lexsort((hash_ids(ids, MASK_KEY, seed, block), labels))
    # each class begins at another part, or the first parts would get the remainder of every class
    first = splitmix64(np.unique(labels, return_inverse=True)[1].astype(U64) + U64(1 + block)) % U64(parts)
    rank_in_class = np.empty(len(ids), np.int64)
    sizes = np.unique(labels, return_counts=True)[1]
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank_in_class[order] = np.arange(len(ids)) - starts
    part = (rank_in_class + first.astype(np.int64)) % parts
    excluded: NDArray[np.bool_] = (part - position * num_excluded) % parts < num_excluded
    return ~excluded
