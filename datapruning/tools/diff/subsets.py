"""How two subsets differ: the samples they share, and how many two random subsets of these sizes would share."""

from dataclasses import dataclass

import numpy as np

from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.tools.diff.classes import class_table


@dataclass(frozen=True)
class Overlap:
    """Counts of the samples in `both` subsets and in `either`; mean and standard deviation of `both` under chance.

    Two random subsets of these sizes share a number of samples that has a hypergeometric distribution.
    """

    both: int
    either: int
    expected: float
    stddev: float


def overlap(a: Subset, b: Subset) -> Overlap:
    """Count what two subsets of one dataset share."""
    size_a, size_b, total = len(a), len(b), a.total
    both = len(np.intersect1d(a.indices, b.indices, assume_unique=True))
    expected = size_a * size_b / total
    variance = expected * (1 - size_b / total) * (total - size_a) / max(total - 1, 1)
    return Overlap(both, size_a + size_b - both, expected, variance**0.5)


def compare_subsets(a: Subset, b: Subset, data: Dataset | None = None) -> list[str]:
    """Describe both subsets, their overlap against chance and, with `data`, the share of each class that they keep."""
    shared = overlap(a, b)
    jaccard_by_chance = shared.expected / (len(a) + len(b) - shared.expected)
    lines = [
        f"A: {_describe(a)}",
        f"B: {_describe(b)}",
        f"in both: {shared.both:,} ({shared.both / len(a):.1%} of A, {shared.both / len(b):.1%} of B); "
        f"by chance {shared.expected:,.1f} +- {shared.stddev:,.1f}",
        f"only in A: {len(a) - shared.both:,}; only in B: {len(b) - shared.both:,}",
        f"Jaccard (both / either): {shared.both / shared.either:.3f}; by chance about {jaccard_by_chance:.3f}",
    ]
    if shared.both == len(a) == len(b):
        lines.append("the same samples")
    elif shared.both in (len(a), len(b)):
        lines.append("A is a subset of B" if shared.both == len(a) else "B is a subset of A")
    if data is not None:
        mask_a, mask_b = (np.isin(np.arange(a.total), subset.indices).astype(np.float64) for subset in (a, b))
        lines += class_table(mask_a, mask_b, data, "share kept")
    return lines


def _describe(subset: Subset) -> str:
    details = [f"scorer {subset.meta.scorer}"]
    if subset.meta.strategy not in (None, "top", "random"):
        details.append(f"strategy {subset.meta.strategy}")
    if subset.meta.balance == "class":
        details.append("balance class")
    return f"{subset} ({', '.join(details)})"
