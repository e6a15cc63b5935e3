"""Coverage-centric coresets: a hard cut-off, then as many of every stratum of the score."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.selection.draw import rank_descending
from datapruning.selection.strategy import Pool, Positions, Setting, Strategy
from datapruning.utils.hashing import hash_ids

KEY = 0xCC5


def drop_hardest(pool: Pool) -> int:
    """Number of samples with the highest scores that are dropped: the share `cutoff` of the pool, rounded down."""
    return math.floor(Fraction(str(pool.settings["cutoff"])) * len(pool))


def check(pools: Sequence[Pool]) -> None:
    """Refuse a cut-off that leaves fewer samples than are to be kept.

    Raises:
        InvalidValue: naming the largest cut-off that every pool allows, to a thousandth.
    """
    for pool in pools:
        left = len(pool) - drop_hardest(pool)
        if left < pool.count:
            largest = min(math.ceil(Fraction(1000 * (len(p) - p.count + 1), len(p))) - 1 for p in pools)
            where = "" if len(pools) == 1 else f" of a class of {len(pool):,}"
            raise InvalidValue(
                f"strategy 'ccs': cutoff={pool.settings['cutoff']:g} leaves {left:,} samples{where}, but fraction "
                f"{float(pool.fraction):g} keeps {pool.count:,}; the largest cutoff possible is {min(largest, 999) / 1000:g}"
            )


def strata(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The stratum of each value, int64 [n]: `count` equally wide ones from the lowest value to the highest, which is in."""
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(len(values), np.int64)
    stratum = ((values - low) / (high - low) * count).astype(np.int64)
    return np.asarray(np.minimum(stratum, count - 1))


def allocate(count: int, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of each stratum: an even split of what is left, from the smallest stratum up; what one lacks passes on.

    Equal sizes: the stratum of lower scores first. Sums to `count` if `sizes` do to at least that, and no share falls
    when `count` grows: so subsets are nested.
    """
    budgets = np.zeros(len(sizes), np.int64)
    remaining = count
    for position, stratum in enumerate(np.argsort(sizes, kind="stable")):
        budgets[stratum] = min(int(sizes[stratum]), remaining // (len(sizes) - position))
        remaining -= int(budgets[stratum])
    return budgets


def ccs(pool: Pool) -> Positions:
    """Drop the highest scores, divide the others into strata, allocate the budget, draw uniformly in each stratum."""
    positions = rank_descending(pool.values)[drop_hardest(pool) :]
    stratum = strata(pool.values[positions], int(pool.settings["strata"]))
    sizes = np.bincount(stratum, minlength=int(pool.settings["strata"]))
    budgets = allocate(pool.count, sizes)
    order = np.lexsort((pool.ids[positions], hash_ids(pool.ids[positions], KEY, pool.seed), stratum))
    rank = np.arange(len(positions)) - (np.cumsum(sizes) - sizes)[stratum[order]]  # within the stratum
    return positions[order[rank < budgets[stratum[order]]]]


STRATEGY = Strategy(
    "ccs",
    summary="the hardest dropped, then as many of every stratum of the score",
    source="CCS, Zheng et al. 2023, algorithm 1 and released code",
    nested=True,
    choose=ccs,
    settings=(
        Setting("cutoff", 0.3, 0, 1, "share of the full set, first ranks, that is dropped", open_high=True),
        Setting("strata", 50, 1, 100_000, "equally wide intervals of the score"),
    ),
    needs_finite_scores=True,
    check=check,
)
