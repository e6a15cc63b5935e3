"""How two things differ class by class, the largest differences first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MOST = 20
"""Classes that are shown, at most."""


def class_means(values: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """The mean of `values` [N] in each class, float64 [classes]; NaN for a class without samples."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, values, classes)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(classes, np.nan), where=counts > 0)
    return means


def class_lines(
    a: NDArray[np.float64], b: NDArray[np.float64], names: Sequence[str], what: str, text: Callable[[float], str]
) -> list[str]:
    """A head and a line a class: its value in A, in B, and B less A; at most `MOST`, the rest in one line.

    Args:
        a: float64 [classes]; NaN where a class has no samples, which is left out.
        b: the same.
        names: of the classes.
        what: what the values are.
        text: a value in words.
    """
    change = b - a
    there = np.flatnonzero(~np.isnan(change))
    order = there[np.argsort(-np.abs(change[there]), kind="stable")]
    width = max([len("class"), *(len(names[i]) for i in order[:MOST])])
    lines = [f"{what}, by class, the largest difference first:"]
    lines.append(f"  {'class':<{width}}  {'A':>7}  {'B':>7}  {'B - A':>7}")
    for i in order[:MOST]:
        sign = "+" if change[i] > 0 else ""
        lines.append(f"  {names[i]:<{width}}  {text(a[i]):>7}  {text(b[i]):>7}  {sign + text(change[i]):>7}")
    rest = order[MOST:]
    if rest.size:
        lines.append(f"  {rest.size:,} more classes, which differ by {text(float(np.abs(change[rest[0]])))} at most")
    return lines
