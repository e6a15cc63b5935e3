"""`--kd-weight auto`: find the KD weight for this fraction, on samples the student never trains on.

The right weight falls as the fraction grows. The pruned-away samples are a free validation set: labelled, in
distribution, and not trained on. This is the plain version: a short pilot for every weight of a grid, and the best one
wins. Whatever replaces it keeps the interface: a function from pilots to a `Search`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import BadValue
from datapruning.hashing import shuffled
from datapruning.training.loop import LEAST

VALIDATION_KEY = 0x7A11D
HELD_OUT = 0.1
"""Share of the kept samples that is held out for the search where nothing, or next to nothing, is pruned away."""


@dataclass(frozen=True)
class Trial:
    """One pilot: its weight, its accuracy in percent on the validation samples, and what it cost."""

    weight: float
    accuracy: float
    samples_seen: int
    seconds: float


@dataclass(frozen=True)
class Search:
    """The chosen weight with its evidence. `validation` says which samples judged: "pruned-away" or "held-out"."""

    weight: float
    trials: tuple[Trial, ...]
    validation: str
    validation_size: int


@dataclass(frozen=True)
class SearchSplit:
    """What pilots train on and are judged on; the two share no sample."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    kind: str


def search_split(kept: NDArray[np.int64], total: int, validation: int, seed: int) -> SearchSplit:
    """Validate on at most `validation` pruned-away samples, or on a slice of the kept where too few are pruned away.

    Raises:
        BadValue: after holding out, too few would be left to train on.
    """
    pruned = np.setdiff1d(np.arange(total), kept)
    needed = min(validation, max(1, round(HELD_OUT * len(kept))))
    if len(pruned) >= needed:
        return SearchSplit(kept, np.sort(shuffled(pruned, VALIDATION_KEY, seed)[:validation]), "pruned-away")
    if len(kept) - needed < LEAST:
        raise BadValue(f"the search for the KD weight needs at least {LEAST + 1} samples; give --kd-weight a number")
    order = shuffled(kept, VALIDATION_KEY, seed)
    return SearchSplit(np.sort(order[needed:]), np.sort(order[:needed]), "held-out")


def grid_search(grid: Sequence[float], pilot: Callable[[float], Trial], split: SearchSplit) -> Search:
    """Try every weight; the most accurate wins, the smaller one where two are equal."""
    trials = tuple(pilot(weight) for weight in sorted(set(grid)))
    best = max(trials, key=lambda t: t.accuracy)
    return Search(best.weight, trials, split.kind, len(split.validation))
