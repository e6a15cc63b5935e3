"""Prototypicality: how far a sample is from every prototype; labels play no part."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.embeddings import Embeddings, import_faiss

ITERATIONS = 50


@scorer(
    "prototypicality",
    needs=Embeddings,
    source="Sorscher et al. 2022, section 5 (spherical k-means, cosine distance; k = the number of classes)",
    cost="one proxy training; k-means with faiss",
    sign="far from every prototype first, which the paper advises where data are plentiful",
)
def prototypicality(embeddings: Embeddings) -> Values:
    """1 - cosine to the nearest of as many prototypes as there are classes."""
    k = len(np.unique(embeddings.labels))
    directions = embeddings.directions
    means = import_faiss().Kmeans(
        directions.shape[1], k, niter=ITERATIONS, spherical=True, seed=embeddings.seed % 2**31, min_points_per_centroid=1,
        max_points_per_centroid=10**9,
    )  # fmt: skip
    means.train(directions)
    assert means.centroids is not None
    return np.asarray(1 - (directions @ means.centroids.T).max(1), np.float64)
