"""How two scores, or two subsets, of the same samples differ: in order, in what they share, and class by class."""

import math

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.rank_correlation import rank_correlation
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.selection.draw import rank_descending
from datapruning.utils.fraction import kept_count

FRACTIONS = ("0.01", "0.1", "0.3", "0.5")
MAX_CLASSES = 20
"""Classes that are listed, at most."""


def compare_scores(a: Scores, b: Scores, data: Dataset | None = None) -> list[str]:
    """Describe rank correlation, shared samples at the top and, with `data`, the mean rank of each class.

    Only the orders are compared, because only the order is used; of equal scores the lower id comes first.
    """
    lines = [f"{side}: scorer {scores.scorer}, seed {scores.meta.seed}" for side, scores in (("A", a), ("B", b))]
    correlation = rank_correlation(a.values, b.values)
    if math.isnan(correlation):
        constant = [side for side, scores in (("A", a), ("B", b)) if (scores.values == scores.values[0]).all()]
        lines.append(f"Spearman's rank correlation: none, since every sample of {' and of '.join(constant)} has one score")
    else:
        lines.append(f"Spearman's rank correlation: {correlation:.4f} (1: the same order, 0: no relation)")
    order_a, order_b, total = rank_descending(a.values), rank_descending(b.values), len(a.values)
    for fraction in FRACTIONS:
        if count := kept_count(fraction, total):
            shared = len(np.intersect1d(order_a[:count], order_b[:count], assume_unique=True))
            lines.append(
                f"in the top {float(fraction):.0%} of both: {shared:,} of {count:,} ({shared / count:.1%}); "
                f"by chance {count / total:.1%}"
            )
    if data is not None:
        ranks_a, ranks_b = (np.argsort(order) / max(total - 1, 1) for order in (order_a, order_b))
        lines += class_table(ranks_a, ranks_b, data, "mean rank (0%: kept first, 100%: last)")
    return lines


def overlap_by_chance(size_a: int, size_b: int, total: int) -> tuple[float, float]:
    """Mean and standard deviation of the number of samples that two random subsets share (hypergeometric)."""
    expected = size_a * size_b / total
    return expected, math.sqrt(expected * (1 - size_b / total) * (total - size_a) / max(total - 1, 1))


def compare_subsets(a: Subset, b: Subset, data: Dataset | None = None) -> list[str]:
    """Describe both subsets, their overlap against chance and, with `data`, the share of each class that they keep."""
    both = len(np.intersect1d(a.indices, b.indices, assume_unique=True))
    expected, stddev = overlap_by_chance(len(a), len(b), a.total)
    sizes = len(a) + len(b)
    lines = [
        f"A: {_describe(a)}",
        f"B: {_describe(b)}",
        f"in both: {both:,} ({both / len(a):.1%} of A, {both / len(b):.1%} of B); "
        f"by chance {expected:,.1f} +- {stddev:,.1f}",
        f"only in A: {len(a) - both:,}; only in B: {len(b) - both:,}",
        f"Jaccard (both / either): {both / (sizes - both):.3f}; by chance about {expected / (sizes - expected):.3f}",
    ]
    if both == len(a) == len(b):
        lines.append("the same samples")
    elif both in (len(a), len(b)):
        lines.append("A is a subset of B" if both == len(a) else "B is a subset of A")
    if data is not None:
        mask_a, mask_b = (np.isin(np.arange(a.total), subset.indices).astype(np.float64) for subset in (a, b))
        lines += class_table(mask_a, mask_b, data, "share kept")
    return lines


def _describe(subset: Subset) -> str:
    meta = subset.meta
    strategy = f", strategy {meta.strategy}" if meta.strategy not in (None, "top", "random") else ""
    return f"{subset} (scorer {meta.scorer}{strategy}{', balance class' if meta.balance == 'class' else ''})"


def class_table(a: NDArray[np.float64], b: NDArray[np.float64], data: Dataset, title: str) -> list[str]:
    """Compare the class means of two values of the samples, as a table in lines of text, the largest difference first.

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
