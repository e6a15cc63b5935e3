"""What the probes of a search are evaluated on, and what the search may cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.utils.cost import FORWARD_PASS_COST
from datapruning.utils.hashing import hash_permutation

VALIDATION_KEY = 0x7A11D
MIN_TRAINED_SAMPLES = 2
MAX_HELD_OUT_FRACTION = 0.1
"""Largest share of the kept samples that is held out until the decision."""
LARGE_TRAINING_SAMPLES = 1_000_000
"""Training samples of a run from which on a search costs no more than `kd.search_budget` trainings."""
SMALL_TRAINING_EXPONENT = 0.176
"""With a budget of 0.3 of a large training it gives 0.45 of one of 100,000 samples: small networks have noisy probes."""
MAX_SEARCH_COST = 0.6
VALIDATION_BUDGET_FRACTION = 0.25
"""Share of the search's cost that goes to validation."""


@dataclass(frozen=True)
class ValidationSet:
    """The samples that probes are evaluated on: pruned-away ones, and kept ones that are held out until the decision.

    Both count as much as they do in the full training set, of which the share `kept_fraction` is kept, because a good
    scorer prunes away what is easy, or what is hard. Sample ids are int64.
    """

    pruned_ids: NDArray[np.int64]
    held_out_ids: NDArray[np.int64]
    kept_fraction: float

    @property
    def ids(self) -> NDArray[np.int64]:
        """All sample ids int64, the pruned-away ones first."""
        return np.concatenate([self.pruned_ids, self.held_out_ids])

    @property
    def weights(self) -> NDArray[np.float64]:
        """float64, the weight of each sample; they sum to 1."""
        if not len(self.held_out_ids) or not len(self.pruned_ids):
            return np.full(len(self.ids), 1 / len(self.ids))
        groups = ((self.pruned_ids, 1 - self.kept_fraction), (self.held_out_ids, self.kept_fraction))
        return np.concatenate([np.full(len(ids), weight / len(ids)) for ids, weight in groups])

    @property
    def kind(self) -> str:
        """Which samples they are, in words."""
        names = [name for name, ids in (("pruned-away", self.pruned_ids), ("set-aside", self.held_out_ids)) if len(ids)]
        return " and ".join(names)


def choose_validation_set(
    kept: NDArray[np.int64], total: int, count: int, seed: int, *, subset_is_random: bool, unreadable: Sequence[int] = ()
) -> ValidationSet:
    """At most `count` samples that represent the full training set of `total` samples.

    With `subset_is_random`, kept and pruned-away samples differ by chance alone, so the pruned-away ones, which are not
    trained on anyway, represent both. Samples that are `unreadable` cannot be validated on.

    Raises:
        InvalidValue: too few would be left to train on.
    """
    pruned = hash_permutation(
        np.setdiff1d(np.arange(total), np.union1d(kept, np.array(unreadable, np.int64))), VALIDATION_KEY, seed
    )
    kept_fraction = len(kept) / total
    max_held_out = max(1, math.floor(MAX_HELD_OUT_FRACTION * len(kept)))
    held_out = min(max_held_out, max(1, round(count * kept_fraction)))
    too_few_left = len(pruned) > 0 and len(kept) - held_out < MIN_TRAINED_SAMPLES
    if too_few_left or (subset_is_random and len(pruned) >= min(count, max_held_out)):
        held_out = 0
    if len(kept) - held_out < MIN_TRAINED_SAMPLES:
        raise InvalidValue(
            f"the search for the KD weight needs at least {MIN_TRAINED_SAMPLES + 1} samples; give the weight as a number",
            parameter="kd_weight",
        )
    order = hash_permutation(kept, VALIDATION_KEY, seed)
    return ValidationSet(np.sort(pruned[: max(0, count - held_out)]), np.sort(order[:held_out]), kept_fraction)


def search_cost(budget: float, samples: int) -> float:
    """What a search may cost, in trainings of so many samples: `budget` for large ones, more for small ones."""
    factor: float = max(1.0, (LARGE_TRAINING_SAMPLES / samples) ** SMALL_TRAINING_EXPONENT)
    return min(max(budget, MAX_SEARCH_COST), budget * factor)


def probe_budget(cost: float, samples: int, probes: int, max_validation_samples: int) -> tuple[int, int]:
    """(validation samples, training samples a probe) that so many probes may have, soft labels of their own included.

    `cost` of the search is in trainings, each of which sees so many `samples`.
    """
    budget = cost * samples / probes  # of one probe, in training passes
    validation = max(1, min(max_validation_samples, int(VALIDATION_BUDGET_FRACTION * budget / FORWARD_PASS_COST)))
    return validation, max(1, int((budget - validation * FORWARD_PASS_COST) / (1 + FORWARD_PASS_COST)))
