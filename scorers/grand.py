"""GraNd: the length of a sample's own gradient early in training."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.gradients import Gradients


@scorer(
    "grand",
    needs=Gradients,
    source="Paul et al. 2021, section 2 (all weights, evaluation mode, no augmentation)",
    cost="the first epochs of several proxies, and a backward pass a sample for each",
    sign="long gradients first, as in the paper",
)
def grand(gradients: Gradients) -> Values | tuple[Values, Values]:
    """Mean over runs of the norm of the gradient of the cross-entropy by all weights, with its standard error."""
    norms: Values = gradients.full_norms.astype(np.float64)
    mean: Values = norms.mean(0)
    return mean if len(norms) == 1 else (mean, norms.std(0, ddof=1) / len(norms) ** 0.5)
