"""Orders of samples within their class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.evidence.embeddings import Embeddings


def rank_within_class(embeddings: Embeddings, order: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.float64]:
    """Scores from an order in each class: 1 for the first of a class, falling to 1/n for the last of its n.

    So the top of all samples is, to rounding, the same share of every class.

    Args:
        embeddings: of all samples.
        order: float64 features [n, width] of a class -> positions int64 [n], those to keep first in front.
    """
    scores = np.empty(embeddings.total)
    for label in np.unique(embeddings.labels):
        mine = np.flatnonzero(embeddings.labels == label)
        picked = order(embeddings.features[mine].astype(np.float64))
        scores[mine[picked]] = 1 - np.arange(len(mine)) / len(mine)
    return scores
