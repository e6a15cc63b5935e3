"""Near-duplicates: samples of which another, kept before, shows nearly the same."""

import numpy as np

from datapruning.evidence.embeddings import Embeddings
from datapruning.scorer import Values, scorer

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

    Of a group of equal samples the one with the smallest id comes first, the others last.
    """
    similarity, nearest = embeddings.neighbours(min(K, embeddings.total - 1))
    earlier = nearest < np.arange(embeddings.total)[:, None]
    return np.asarray(-np.where(earlier, similarity, -1.0).max(1), np.float64)
