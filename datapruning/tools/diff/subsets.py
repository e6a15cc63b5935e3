"""How two subsets differ: what they share, and what chance alone would make them share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.tools.diff.per_class import class_lines, class_means


@dataclass(frozen=True)
class Overlap:
    """What two subsets of one dataset share.

    Attributes:
        both: samples in both.
        either: samples in at least one.
        expected: mean of `both` for two subsets of these sizes drawn at random (hypergeometric).
        spread: the standard deviation of that.
    """

    both: int
    either: int
    expected: float
    spread: float

    @property
    def jaccard(self) -> float:
        """The share of `both` in `either`."""
        return self.both / self.either


def overlap(a: Subset, b: Subset) -> Overlap:
    """What two subsets of one dataset share."""
    first, second, total = len(a), len(b), a.total
    both = len(np.intersect1d(a.indices, b.indices, assume_unique=True))
    expected = first * second / total
    variance = expected * (1 - second / total) * (total - first) / max(total - 1, 1)
    return Overlap(both, first + second - both, expected, variance**0.5)


def subset_lines(a: Subset, b: Subset, data: Dataset | None = None) -> list[str]:
    """Both subsets in words, what they share, and with `data` the share of each class that they keep."""
    found = overlap(a, b)
    lines = [f"A: {_told(a)}", f"B: {_told(b)}"]
    lines.append(
        f"in both: {found.both:,} ({found.both / len(a):.1%} of A, {found.both / len(b):.1%} of B); "
        f"by chance {found.expected:,.1f} +- {found.spread:,.1f}"
    )
    by_chance = found.expected / (len(a) + len(b) - found.expected)
    lines.append(f"in A alone: {len(a) - found.both:,}; in B alone: {len(b) - found.both:,}")
    lines.append(f"Jaccard (both / either): {found.jaccard:.3f}; by chance about {by_chance:.3f}")
    if found.both == len(a) == len(b):
        lines.append("the same samples")
    elif found.both in (len(a), len(b)):
        lines.append("A lies inside B" if found.both == len(a) else "B lies inside A")
    if data is not None:
        kept = [class_means(_mask(each), data.train.labels, data.classes) for each in (a, b)]
        lines += class_lines(kept[0], kept[1], data.class_names, "share kept", lambda share: f"{share:.1%}")
    return lines


def _mask(subset: Subset) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    mask = np.zeros(subset.total)
    mask[subset.indices] = 1
    return mask


def _told(subset: Subset) -> str:
    meta = subset.meta
    how = [f"scorer {meta['scorer']}"]
    if meta.get("strategy") not in (None, "top", "random"):
        how.append(f"strategy {meta['strategy']}")
    if meta.get("balance") not in (None, "none"):
        how.append(f"balance {meta['balance']}")
    return f"{subset} ({', '.join(how)})"
