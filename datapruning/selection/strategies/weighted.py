"""Sampling with a temperature: between the highest scores and uniformly at random."""

import numpy as np

from datapruning.selection.draw import gumbel_noise, rank_descending
from datapruning.selection.strategy import Pool, Positions, Setting, Strategy

KEY = 0x3E1647


def weighted(pool: Pool) -> Positions:
    """Drawn without replacement with weights exp(z / T), where z is the score in standard deviations from its mean.

    Standardised, so that one T means the same for every scorer and every class. T near 0 is `top`, a large T is uniform.
    """
    spread = pool.values.std()
    z = (pool.values - pool.values.mean()) / spread if spread > 0 else np.zeros(len(pool))
    return rank_descending(z / pool.settings["temperature"] + gumbel_noise(pool.ids, KEY, pool.seed))[: pool.count]


STRATEGY = Strategy(
    "weighted",
    summary="drawn with weights exp(z / temperature), z the standardised score",
    source="Gumbel keys: Efraimidis and Spirakis 2006, Kool et al. 2019",
    nested=True,
    choose=weighted,
    settings=(Setting("temperature", 1.0, 1e-3, 1e3, "near 0 as top, large as random"),),
    needs_finite_scores=True,
)
