"""How two values of each class differ, the largest difference first."""

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset

MAX_CLASSES = 20
"""Classes that are listed, at most."""


def class_table(a: NDArray[np.float64], b: NDArray[np.float64], data: Dataset, title: str) -> list[str]:
    """Compare the class means of two values of the samples, as a table in lines of text.

    Args:
        a: Float64 [N], values of the training samples in A, in 0..1.
        b: Likewise in B.
        data: The dataset, for labels and class names. A class without samples is left out.
        title: What the values are.
    """
    counts = np.bincount(data.train.labels, minlength=data.classes)
    present = np.flatnonzero(counts)
    means = [np.bincount(data.train.labels, values, data.classes)[present] / counts[present] for values in (a, b)]
    change = means[1] - means[0]
    order = np.argsort(-np.abs(change), kind="stable")
    names = [data.class_names[label] for label in present]
    width = max([len("class"), *(len(names[i]) for i in order[:MAX_CLASSES])])
    lines = [f"{title}, by class, the largest difference first:", f"  {'class':<{width}}  {'A':>7}  {'B':>7}  {'B - A':>7}"]
    for i in order[:MAX_CLASSES]:
        difference = f"{'+' if change[i] > 0 else ''}{change[i]:.1%}"
        lines.append(f"  {names[i]:<{width}}  {means[0][i]:>7.1%}  {means[1][i]:>7.1%}  {difference:>7}")
    others = order[MAX_CLASSES:]
    if others.size:
        lines.append(f"  {others.size:,} more classes, which differ by {abs(change[others[0]]):.1%} at most")
    return lines
