"""Rankings and random draws by sample id: a draw depends on nothing but the id, a key and the seed.

So the same draw serves every fraction, which makes sampling nested if its weights do not depend on the fraction.
"""

import numpy as np
from numpy.typing import NDArray

from datapruning.utils.hashing import hash_ids


def rank_descending(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Positions by falling value; of equal values the lower position, which is the lower id, first."""
    return np.argsort(-values, kind="stable")


def gumbel_noise(ids: NDArray[np.int64], key: int, seed: int) -> NDArray[np.float64]:
    """A standard Gumbel number a sample, float64 [n].

    The k largest of log(weight) + Gumbel are k draws without replacement, each with a probability proportional to its
    weight among those that are left: the exponential keys of Efraimidis and Spirakis (2006), on a log scale.
    """
    bits = hash_ids(ids, key, seed) >> np.uint64(12)
    uniform = (bits.astype(np.float64) + 0.5) * 2.0**-52  # in (0, 1), without both ends
    return -np.log(-np.log(uniform))
