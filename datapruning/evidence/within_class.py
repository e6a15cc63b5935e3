"""Ranks of samples within their class."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.evidence.embeddings import Embeddings


def rank_within_class(embeddings: Embeddings, order: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.float64]:
    """Scores from an order in each class: 1 for the first of a class, falling to 1/n for the last of its n.

    So the highest scores are, to rounding, the same fraction of every class.

    Args:
        embeddings: embeddings of all samples.
        order: float64 features [n, width] of a class -> positions int64 [n], the first to keep first.
    """
    scores = np.empty(embeddings.total)
    for label in np.unique(embeddings.labels):
        ids = np.flatnonzero(embeddings.labels == label)
        positions = order(embeddings.features[ids].astype(np.float64))
        scores[ids[positions]] = 1 - np.arange(len(ids)) / len(ids)
    return scores
