"""How two scores of the same samples differ: only their orders are compared, since only those are used."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.report.score_files import spearman
from datapruning.selection.draw import front_first
from datapruning.tools.diff.per_class import class_lines, class_means
from datapruning.utils.fraction import kept_count

FRACTIONS = ("0.01", "0.1", "0.3", "0.5")


def shared_front(a: NDArray[np.float32], b: NDArray[np.float32], count: int) -> int:
    """How many samples are among the `count` highest of both; of equal scores the lower id comes first."""
    return len(np.intersect1d(front_first(a)[:count], front_first(b)[:count], assume_unique=True))


def score_lines(a: Scores, b: Scores, data: Dataset | None = None) -> list[str]:
    """Rank correlation, what the fronts share, and with `data` where each class stands on average."""
    lines = [f"A: scorer {a.scorer}, seed {a.meta.get('seed')}", f"B: scorer {b.scorer}, seed {b.meta.get('seed')}"]
    constant = [side for side, each in (("A", a), ("B", b)) if np.ptp(_finite(each.values)) == 0]
    rank = spearman(a.values, b.values)
    if math.isnan(rank):
        lines.append(f"Spearman's rank correlation: none, since every sample of {' and of '.join(constant)} has one score")
    else:
        lines.append(f"Spearman's rank correlation: {rank:.4f} (1: the same order, 0: no relation)")
    total = len(a.values)
    for fraction in FRACTIONS:
        count = kept_count(fraction, total)
        if count:
            both = shared_front(a.values, b.values, count)
            lines.append(
                f"in the front {float(fraction):.0%} of both: {both:,} of {count:,} ({both / count:.1%}); "
                f"by chance {count / total:.1%}"
            )
    if data is not None:
        places = [class_means(_places(each.values), data.train.labels, data.classes) for each in (a, b)]
        what = "mean place in the order (0%: kept first, 100%: last)"
        lines += class_lines(places[0], places[1], data.class_names, what, lambda place: f"{place:.1%}")
    return lines


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Infinite scores as the largest numbers, so that they can be subtracted."""
    return np.nan_to_num(values)


def _places(values: NDArray[np.float32]) -> NDArray[np.float64]:
    places = np.empty(len(values))
    places[front_first(values)] = np.arange(len(values)) / max(len(values) - 1, 1)
    return places
