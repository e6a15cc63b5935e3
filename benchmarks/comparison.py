"""Paired comparisons over runs: the mean difference, its standard error, and what several of them say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """The mean of a - b over runs, and its standard error."""
    gains = [x - y for x, y in zip(a, b, strict=True)]
    return statistics.mean(gains), statistics.stdev(gains) / math.sqrt(len(gains))


def in_words(a: Sequence[float], b: Sequence[float]) -> str:
    """The difference a - b and its standard error."""
    mean, error = difference(a, b)
    return f"{mean:+.2f} ± {error:.2f}"


def sign(a: Sequence[float], b: Sequence[float]) -> int:
    """1: a is ahead of b by two standard errors; -1: behind; 0: neither."""
    mean, error = difference(a, b)
    return 1 if mean > 2 * error else -1 if mean < -2 * error else 0


def verdict(signs: Sequence[int]) -> str:
    """What the signs of several comparisons say of a finding."""
    if min(signs) == 1:
        return "holds"
    if max(signs) == -1:
        return "does not hold: the opposite is seen"
    ahead, behind = signs.count(1), signs.count(-1)
    return f"holds clearly in {ahead} of {len(signs)} comparisons" + (f", is reversed in {behind}" if behind else "")
