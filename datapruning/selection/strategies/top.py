"""The highest scores."""

from datapruning.selection.draw import rank_descending
from datapruning.selection.strategy import Pool, Positions, Strategy


def top(pool: Pool) -> Positions:
    """The front of the ranking; of equal scores the lower id first."""
    return rank_descending(pool.values)[: pool.count]


STRATEGY = Strategy(
    "top",
    summary="the highest scores",
    source="every score's own use",
    nested=True,
    choose=top,
)
