"""Near-duplicates: samples of which another, kept before, shows nearly the same."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.embeddings import Embeddings

K = 20


@scorer(
    "duplicates",
    needs=Embeddings,
    source="semantic de-duplication (Abbas et al. 2023, section 3), by neighbours instead of clusters",
    cost="one proxy training; a search among all samples with faiss",
    sign="most unlike all earlier samples first",
)
def duplicates(embeddings: Embeddings) -> Values:
    """Minus the cosine to the nearest sample of a smaller id, among the 20 nearest; 1 where none of those has one.

    Equal samples count once: the one with the smallest id stands for all, and the others come last.
    """
    features, unique = embeddings.features, np.unique(embeddings.first_copies())
    scores = np.full(embeddings.total, -1.0)
    scores[unique] = 1.0
    if len(unique) > 1:  # copies would fill the lists of neighbours
        similarity, nearest = Embeddings(features[unique], embeddings.labels[unique]).neighbours(min(K, len(unique) - 1))
        scores[unique] = -np.where(nearest < np.arange(len(unique))[:, None], similarity, -1.0).max(1)
    return scores
