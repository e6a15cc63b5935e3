"""kNN: whether a sample's neighbours have its label."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.embeddings import Embeddings

K = 10


@scorer(
    "knn",
    needs=Embeddings,
    source="the kNN rule of label cleaning (Bahri et al. 2020, section 3), neighbours by cosine",
    cost="one proxy training; a search among all samples with faiss",
    sign="agreeing neighbours first",
)
def knn(embeddings: Embeddings) -> Values:
    """The share of the 10 nearest others (all, where there are fewer) that have the sample's label."""
    _, nearest = embeddings.neighbours(min(K, embeddings.total - 1))
    return np.asarray((embeddings.labels[nearest] == embeddings.labels[:, None]).mean(1))
