"""EL2N: the norm of the error early in training."""

import numpy as np

from datapruning.artifacts.scorer import Values, scorer
from datapruning.evidence.dynamics import EarlyEvaluation


@scorer(
    "el2n",
    needs=EarlyEvaluation,
    source="Paul et al. 2021, section 3 (released code: evaluation mode, no augmentation, mean over 10 runs)",
    cost="the first epochs of several proxies",
    sign="large errors first, as in the paper",
)
def el2n(errors: EarlyEvaluation) -> Values | tuple[Values, Values]:
    """Mean over runs of ||softmax(f(x)) - onehot(y)||_2 at the early checkpoint, with its standard error."""
    norms: Values = errors.error_norms.astype(np.float64)
    mean: Values = norms.mean(0)
    return mean if len(norms) == 1 else (mean, norms.std(0, ddof=1) / len(norms) ** 0.5)
