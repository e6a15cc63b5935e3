"""The judges: training samples that are set aside, and that no network of the advice trains on. The test set is not used."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.utils.hashing import shuffled

JUDGES_KEY = 0xAD7D6
MOST, SHARE = 5000, 0.1
"""At most so many judges, and at most this share of the training samples."""
LEAST_TOTAL = 1000
"""Fewer training samples, and a tenth of them tells nothing about a point of accuracy."""


@dataclass(frozen=True)
class Parts:
    """`judges` and the `rest`, which is what the advice takes for all data: sample ids, int64, sorted."""

    judges: NDArray[np.int64]
    rest: NDArray[np.int64]


def set_aside(total: int, seed: int, unreadable: Sequence[int] = ()) -> Parts:
    """Draw the judges among `total` samples, without those that cannot be read.

    Raises:
        InvalidValue: too small a dataset.
    """
    if total < LEAST_TOTAL:
        raise InvalidValue(
            f"advise sets a tenth of the training samples aside as judges, and of {total:,} that is too few to tell a point "
            f"of accuracy; it needs at least {LEAST_TOTAL:,}. Train at a few fractions instead (dprune sweep)"
        )
    order = shuffled(np.setdiff1d(np.arange(total), unreadable), JUDGES_KEY, seed)
    count = min(MOST, int(SHARE * len(order)))
    return Parts(np.sort(order[:count]), np.sort(order[count:]))


def packed(correct: NDArray[np.bool_]) -> str:
    """Which judges a network got right, as text for a row."""
    return base64.b85encode(np.packbits(correct).tobytes()).decode()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """The inverse of `packed`; bool [count]."""
    return np.unpackbits(np.frombuffer(base64.b85decode(text), np.uint8), count=count).astype(np.bool_)
