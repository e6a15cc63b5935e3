"""GraNd by the last layer alone: what DeepCore's released code calls GraNd."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.gradients import Gradients


@scorer(
    "grand-last",
    needs=Gradients,
    source="the released code of DeepCore (Guo et al. 2022): GraNd by the last layer's weights",
    cost="the first epochs of several proxies, and a forward pass for each",
    sign="long gradients first",
)
def grand_last(gradients: Gradients) -> Values | tuple[Values, Values]:
    """Mean over runs of the norm of the gradient by the last linear layer, with its standard error."""
    norms: Values = gradients.last_layer_norms.astype(np.float64)
    mean: Values = norms.mean(0)
    return mean if len(norms) == 1 else (mean, norms.std(0, ddof=1) / len(norms) ** 0.5)
