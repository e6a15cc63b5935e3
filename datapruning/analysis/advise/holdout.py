"""The hold-out: training samples that no network of the advice trains on, and that all are evaluated on.

The test set is not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.utils.hashing import hash_permutation

HOLDOUT_KEY = 0xAD7D6
MAX_HOLDOUT_SAMPLES = 5000
MAX_HOLDOUT_FRACTION = 0.1
MIN_TRAINING_SAMPLES = 1000
"""Of fewer training samples, a tenth is too few to measure a point of accuracy."""


@dataclass(frozen=True)
class HoldoutSplit:
    """Sample ids, int64, sorted: the `holdout`, and the `rest`, which the advice treats as the full training set."""

    holdout: NDArray[np.int64]
    rest: NDArray[np.int64]


def split_holdout(total: int, seed: int, unreadable: Sequence[int] = ()) -> HoldoutSplit:
    """Draw the hold-out among `total` samples, without those that cannot be read.

    Raises:
        InvalidValue: The dataset is too small.
    """
    if total < MIN_TRAINING_SAMPLES:
        raise InvalidValue(
            f"advise holds out a tenth of the training samples, and of {total:,} that is too few to measure a point of "
            f"accuracy; it needs at least {MIN_TRAINING_SAMPLES:,}. Train at a few fractions instead (dprune sweep)"
        )
    order = hash_permutation(np.setdiff1d(np.arange(total), unreadable), HOLDOUT_KEY, seed)
    count = min(MAX_HOLDOUT_SAMPLES, int(MAX_HOLDOUT_FRACTION * len(order)))
    return HoldoutSplit(np.sort(order[:count]), np.sort(order[count:]))
