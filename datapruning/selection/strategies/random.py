"""Uniformly at random, independent of the scores."""

import numpy as np

from datapruning.selection.strategy import Pool, Positions, Strategy
from datapruning.utils.hashing import hash_permutation

RANDOM_KEY = 0x5E1EC7


def random(pool: Pool) -> Positions:
    """The first of a random order of all ids, which is the order of the scorer "random" with the same seed."""
    return np.searchsorted(pool.ids, hash_permutation(pool.ids, RANDOM_KEY, pool.seed)[: pool.count])


STRATEGY = Strategy(
    "random",
    summary="uniformly at random; of the scores only their dataset is used",
    source="the baseline of every paper",
    nested=True,
    choose=random,
)
