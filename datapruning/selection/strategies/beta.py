"""Beta sampling: the more is pruned, the easier the samples that are drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue
from datapruning.selection.draw import gumbel_noise, rank_descending
from datapruning.selection.strategy import Pool, Positions, Setting, Strategy

KEY = 0xBE7A
NUM_ANCHORS = 10
MIN_PROB = 1e-6
"""Probabilities are kept this far from 0 and 1, where the density is 0 or infinite."""


def parameters(anchor: float, prune_rate: float, c: float) -> tuple[float, float]:
    """(a, b) of the Beta distribution, a + b = 16: its mean is `anchor` where nothing is pruned, and rises from there.

    b = 15 (1 - anchor) (1 - rho^c), a = 16 - b, with `anchor` the mean label probability of the top-scored samples.
    """
    b = 15 * (1 - anchor) * (1 - prune_rate**c)
    return 16 - b, b


def log_weights(label_prob: NDArray[np.float64], values: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """log(BetaPDF(p; a, b) * score) but for a constant, float64 [n]; -inf where the score is 0."""
    p = np.clip(label_prob, MIN_PROB, 1 - MIN_PROB)
    with np.errstate(divide="ignore"):
        return np.asarray((a - 1) * np.log(p) + (b - 1) * np.log1p(-p) + np.log(values))


def beta(pool: Pool) -> Positions:
    """Drawn without replacement with those weights; samples of weight 0 only when no others are left, uniformly."""
    assert pool.evidence is not None
    anchor = float(pool.evidence[rank_descending(pool.values)[:NUM_ANCHORS]].mean())
    a, b = parameters(anchor, float(1 - pool.fraction), pool.settings["c"])
    noise = gumbel_noise(pool.ids, KEY, pool.seed)
    keys = log_weights(pool.evidence, pool.values, a, b) + noise
    return np.lexsort((pool.ids, -noise, -keys))[: pool.count]


def check(pools: Sequence[Pool]) -> None:
    """Refuse scores below 0, which are no weights.

    Raises:
        InvalidValue: with the least score.
    """
    least = min(pool.values.min() for pool in pools)
    if least < 0:
        raise InvalidValue(
            f"strategy 'beta' draws in proportion to the score, and the least of these is {least:.4g}; "
            "take a scorer without scores below 0, such as el2n or forgetting"
        )


STRATEGY = Strategy(
    "beta",
    summary="drawn with weights Beta density of the mean label probability times score; easier ones the more is pruned",
    source="DUAL, Cho et al. 2025, section on pruning-ratio-adaptive sampling, and released code",
    nested=False,
    choose=beta,
    settings=(
        Setting("c", 4.0, 0.01, 1000, "how late the turn to easier samples comes: later with a larger c"),
        Setting("epochs", 30, 1, 100_000, "first epochs of the recording that are read"),
    ),
    needs_finite_scores=True,
    evidence_kind="label probabilities",
    read_evidence=lambda evidence, settings: evidence.label_prob(int(settings["epochs"])),
    check=check,
)
