"""The answer, as plain data: which fraction, how sure, and what other tolerances would take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from datapruning.analysis.advise.curve import CONFIDENCE, Curve, Marks, fit_curve, interval
from datapruning.analysis.advise.plan import LIMIT
from datapruning.utils.fraction import kept_count

OTHERS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Tolerances that are answered beside the one that was asked for."""
SHOWN = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Reach:
    """What a tolerance takes.

    Attributes:
        tolerance: in points.
        fraction: the smallest that stays within it, to two digits; None: none below 0.95 does.
        low, high: bounds of the interval; None: not below 1.
    """

    tolerance: float
    fraction: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Answer:
    """What was asked for.

    Attributes:
        tolerance: see `Reach`.
        fraction: see `Reach`.
        low: see `Reach`.
        high: see `Reach`; the fraction that is within the tolerance with probability (1 + confidence) / 2.
        confidence: of the interval.
        kept: floor(f * N + 1/2), or None.
        beyond: "below" or "above" where the fraction lies outside all pilots, else None.
        others: other tolerances, from the same pilots.
    """

    tolerance: float
    fraction: float | None
    low: float | None
    high: float | None
    confidence: float
    kept: int | None
    beyond: str | None
    others: tuple[Reach, ...]


def answer_of(marks: Marks, curve: Curve, tolerance: float, total: int, seed: int) -> Answer:
    """Read the curve."""
    least, most = float(marks.fractions[0]), float(marks.fractions[-1])
    mine = reach_of(curve, tolerance, least)
    others = tuple(reach_of(fit_curve(marks, t, seed), t, least) for t in OTHERS if t != tolerance)
    beyond = None
    if mine.fraction is not None:
        beyond = "above" if mine.fraction > 1.1 * most else "below" if mine.fraction <= least else None
    kept = None if mine.fraction is None else kept_count(repr(mine.fraction), total)
    return Answer(tolerance, mine.fraction, mine.low, mine.high, CONFIDENCE, kept, beyond, others)


def reach_of(curve: Curve, tolerance: float, least: float) -> Reach:
    """What a tolerance takes.

    Args:
        curve: fitted for it.
        tolerance: in points.
        least: the smallest fraction that was tried; no answer is smaller, because nothing was seen there.
    """
    fraction, low, high = (_rounded(max(value, least)) for value in interval(curve.crossing(tolerance)))
    return Reach(tolerance, fraction if fraction < LIMIT else None, _below_one(low), _below_one(high))


def curve_table(curve: Curve) -> list[dict[str, float]]:
    """Points short of the reference at a few fractions, with the interval."""
    table = []
    for fraction in SHOWN:
        gap, low, high = interval(curve.gap(fraction))
        table.append({"fraction": fraction, "gap": round(gap, 4), "low": round(low, 4), "high": round(high, 4)})
    return table


def _rounded(fraction: float) -> float:
    """Two digits, upwards: a fraction that is said to be enough is."""
    if not fraction < 1:
        return math.inf
    scale = 10.0 ** (1 - math.floor(math.log10(fraction)))
    return math.ceil(round(fraction * scale, 6)) / scale


def _below_one(fraction: float) -> float | None:
    return fraction if fraction < 1 else None
