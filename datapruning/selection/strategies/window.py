"""The middle of the ranking."""

from datapruning.selection.draw import rank_descending
from datapruning.selection.strategy import Pool, Positions, Strategy


def window(pool: Pool) -> Positions:
    """Ranks 0.5 - f/2 to 0.5 + f/2. Where the two ends cannot be equally long, the front loses one sample less."""
    start = (len(pool) - pool.count) // 2
    return rank_descending(pool.values)[start : start + pool.count]


STRATEGY = Strategy(
    "window",
    summary="the middle ranks of the score, as many dropped in front as behind",
    source="Moderate-DS, Xia et al. 2023 (there the score is the distance to the class's median feature)",
    nested=True,
    choose=window,
)
