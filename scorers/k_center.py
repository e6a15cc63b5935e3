"""k-centre: cover every class, the sample farthest from those picked being next."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.embeddings import Embeddings


@scorer(
    "k-center",
    needs=Embeddings,
    source="Sener and Savarese 2018, section 4 (the greedy 2-approximation); in each class, as in DeepCore",
    cost="one proxy training; N * N / classes distances of embeddings",
    sign="picked first, kept first",
)
def k_center(embeddings: Embeddings) -> Values:
    """Greedy farthest-point order in each class; it begins with the sample nearest to the class's mean."""

    def order(features: Values) -> Values:
        picked = np.empty(len(features), np.int64)
        distance = ((features - features.mean(0)) ** 2).sum(1)
        nearest = np.full(len(features), np.inf)
        lengths = (features**2).sum(1)
        picked[0] = distance.argmin()
        for k in range(1, len(features)):
            last = picked[k - 1]
            from_last = np.maximum(lengths + lengths[last] - 2 * (features @ features[last]), 0)
            nearest = np.minimum(nearest, from_last)
            nearest[last] = -np.inf
            picked[k] = nearest.argmax()
        return picked

    return embeddings.rank_within_class(order)
