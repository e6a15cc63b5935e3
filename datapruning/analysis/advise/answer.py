"""The answer: which fraction, with which interval, and which fractions other tolerances would take."""

import math
from dataclasses import dataclass

from datapruning.analysis.advise.curve import CONFIDENCE, Curve, PilotResults, fit_curve, interval
from datapruning.analysis.advise.plan import MAX_FRACTION
from datapruning.utils.fraction import kept_count

OTHER_TOLERANCES = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
TABLE_FRACTIONS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class ToleranceResult:
    """What a tolerance takes.

    Attributes:
        tolerance: In points of accuracy.
        fraction: The smallest that stays within it, to two digits; None: none below 0.95 does.
        low: Lower bound of the interval; None: not below 1.
        high: Upper bound, likewise: within the tolerance with probability (1 + confidence) / 2.
    """

    tolerance: float
    fraction: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Answer(ToleranceResult):
    """What the tolerance that was asked for takes.

    Attributes:
        confidence: Of the interval.
        kept: floor(fraction * N + 1/2), or None.
        beyond: "below" or "above" where the fraction lies outside all pilots, else None.
        other_tolerances: What others take, from the same pilots.
    """

    confidence: float
    kept: int | None
    beyond: str | None
    other_tolerances: tuple[ToleranceResult, ...]


@dataclass(frozen=True)
class CurvePoint:
    """Points by which a student on a fraction is worse than the reference, with the interval."""

    fraction: float
    gap: float
    low: float
    high: float


def make_answer(results: PilotResults, curve: Curve, tolerance: float, total: int, seed: int) -> Answer:
    """Read the answer for a dataset of `total` samples off the curve that was fitted for this tolerance."""
    smallest, largest = float(results.fractions[0]), float(results.fractions[-1])
    asked = tolerance_result(curve, tolerance, smallest)
    others = tuple(tolerance_result(fit_curve(results, t, seed), t, smallest) for t in OTHER_TOLERANCES if t != tolerance)
    beyond, kept = None, None
    if asked.fraction is not None:
        beyond = "above" if asked.fraction > 1.1 * largest else "below" if asked.fraction <= smallest else None
        kept = kept_count(repr(asked.fraction), total)
    return Answer(tolerance, asked.fraction, asked.low, asked.high, CONFIDENCE, kept, beyond, others)


def tolerance_result(curve: Curve, tolerance: float, smallest: float) -> ToleranceResult:
    """Read off what a tolerance takes.

    Args:
        curve: Fitted for it.
        tolerance: In points of accuracy.
        smallest: The smallest fraction that was tried; no answer is smaller, because nothing was measured there.
    """
    fraction, low, high = (_round_up(max(value, smallest)) for value in interval(curve.crossing(tolerance)))
    return ToleranceResult(tolerance, fraction if fraction < MAX_FRACTION else None, _below_one(low), _below_one(high))


def curve_table(curve: Curve) -> list[CurvePoint]:
    """Return the curve at a few fractions."""
    points = [(fraction, *interval(curve.gap(fraction))) for fraction in TABLE_FRACTIONS]
    return [CurvePoint(fraction, round(gap, 4), round(low, 4), round(high, 4)) for fraction, gap, low, high in points]


def _round_up(fraction: float) -> float:
    """Round to two digits, upwards: a fraction that is reported as enough is enough."""
    if not fraction < 1:
        return math.inf
    scale = 10.0 ** (1 - math.floor(math.log10(fraction)))
    return math.ceil(round(fraction * scale, 6)) / scale


def _below_one(fraction: float) -> float | None:
    return fraction if fraction < 1 else None
