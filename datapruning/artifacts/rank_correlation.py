"""How much two scores agree on the order of the samples."""

import numpy as np
from numpy.typing import NDArray


def rank_correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Spearman's rank correlation of two arrays [N]: equal values have their mean rank; NaN where an array is constant."""
    from scipy.stats import spearmanr

    if (a == a[0]).all() or (b == b[0]).all():
        return float("nan")
    return float(spearmanr(a, b).statistic)
