"""Herding: samples that together have their class's mean."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.embeddings import Embeddings


@scorer(
    "herding",
    needs=Embeddings,
    source="Welling 2009; Chen et al. 2010, section 2; in each class, as in DeepCore",
    cost="one proxy training; N * N / classes products of embeddings",
    sign="picked first, kept first",
)
def herding(embeddings: Embeddings) -> Values:
    """Greedy order in each class: next is the sample that brings the mean of those picked nearest to the class's mean."""

    def order(features: Values) -> Values:
        mean, n = features.mean(0), len(features)
        lengths, to_mean = (features**2).sum(1), features @ mean
        summed, left, picked = np.zeros(n), np.ones(n, bool), np.empty(n, np.int64)
        for k in range(n):
            # ||(sum + x) / (k + 1) - mean||^2 without what is the same for all
            costs = (lengths + 2 * summed) / (k + 1) - 2 * to_mean
            picked[k] = np.flatnonzero(left)[costs[left].argmin()]
            left[picked[k]] = False
            summed += features @ features[picked[k]]
        return picked

    return embeddings.rank_within_class(order)
