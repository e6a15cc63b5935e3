"""Uniformly at random: the baseline that, with a teacher, the clever scorers have to beat."""

import numpy as np

from datapruning.artifacts.scorer import Samples, Values, scorer
from datapruning.selection.strategies.random import RANDOM_KEY
from datapruning.utils.hashing import hash_permutation


@scorer(
    "random",
    needs=Samples,
    source="the baseline of every paper",
    cost="none",
    sign="none: every order is as likely",
)
def random(samples: Samples) -> Values:
    """Ranks of a random order of the ids, scaled to (0, 1]; distinct up to N = 2**24."""
    scores = np.empty(samples.total)
    scores[hash_permutation(np.arange(samples.total), RANDOM_KEY, samples.seed)] = np.arange(samples.total, 0, -1)
    return scores / samples.total
