"""How two scores of the same samples differ. Only their orders are compared, because only the order is used."""

import math

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.rank_correlation import rank_correlation
from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.selection.draw import rank_descending
from datapruning.tools.diff.classes import class_table
from datapruning.utils.fraction import kept_count

FRACTIONS = ("0.01", "0.1", "0.3", "0.5")


def count_shared_top(a: NDArray[np.float32], b: NDArray[np.float32], count: int) -> int:
    """Count the samples among the `count` highest of both; of equal scores the lower id comes first."""
    return len(np.intersect1d(rank_descending(a)[:count], rank_descending(b)[:count], assume_unique=True))


def compare_scores(a: Scores, b: Scores, data: Dataset | None = None) -> list[str]:
    """Describe rank correlation, shared samples at the top and, with `data`, the mean rank of each class."""
    sides = {"A": a, "B": b}
    lines = [f"{side}: scorer {scores.scorer}, seed {scores.meta.seed}" for side, scores in sides.items()]
    rank = rank_correlation(a.values, b.values)
    if math.isnan(rank):
        constant = [side for side, scores in sides.items() if (scores.values == scores.values[0]).all()]
        lines.append(f"Spearman's rank correlation: none, since every sample of {' and of '.join(constant)} has one score")
    else:
        lines.append(f"Spearman's rank correlation: {rank:.4f} (1: the same order, 0: no relation)")
    total = len(a.values)
    for fraction in FRACTIONS:
        if count := kept_count(fraction, total):
            shared = count_shared_top(a.values, b.values, count)
            lines.append(
                f"in the top {float(fraction):.0%} of both: {shared:,} of {count:,} ({shared / count:.1%}); "
                f"by chance {count / total:.1%}"
            )
    if data is not None:
        title = "mean rank (0%: kept first, 100%: last)"
        lines += class_table(_relative_ranks(a.values), _relative_ranks(b.values), data, title)
    return lines


def _relative_ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Float64 [N], 0 for the sample that is kept first, 1 for the last."""
    ranks = np.empty(len(values))
    ranks[rank_descending(values)] = np.arange(len(values)) / max(len(values) - 1, 1)
    return ranks
