"""Moderate: neither the most typical nor the least typical of a class."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.embeddings import Embeddings


@scorer(
    "moderate",
    needs=Embeddings,
    source="Xia et al. 2023, section 3 (distance to the class's median, ranked over all classes as in the released code)",
    cost="one proxy training",
    sign="middle ranks first, so that the top is the paper's window",
)
def moderate(embeddings: Embeddings) -> Values:
    """Minus how far a sample's rank, by its distance from its class's median, lies from the middle rank."""
    labels = embeddings.labels
    distance = np.empty(len(labels))
    for label in np.unique(labels):
        in_class = labels == label
        features = embeddings.features[in_class].astype(np.float64)
        distance[in_class] = np.linalg.norm(features - np.median(features, axis=0), axis=1)
    rank = np.empty(len(labels))
    rank[np.argsort(distance, kind="stable")] = np.arange(len(labels))
    return np.asarray(-np.abs(rank - (len(labels) - 1) / 2))
