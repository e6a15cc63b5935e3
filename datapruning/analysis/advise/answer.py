"""The answer: which fraction, with which interval, what other tolerances would take; and the same in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.analysis.advise.cost import AdviceCost, saved_share
from datapruning.analysis.advise.curve import CONFIDENCE, Curve, PilotResults, fit_curve, interval
from datapruning.analysis.advise.holdout_result import HoldoutResult
from datapruning.analysis.advise.plan import MAX_FRACTION
from datapruning.runs.context import Context
from datapruning.utils.fraction import kept_count

FILE = "advice.json"
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
    """Read off what a tolerance takes, from the curve that was fitted for it.

    No answer is smaller than the smallest fraction that was tried, because nothing was measured there.
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


def has_equal_compute(context: Context) -> bool:
    """Whether students train on as many samples whatever they keep, with repeats; otherwise for as many epochs."""
    return context.recipe.train.budget != "epochs"


def answer_message(
    context: Context, answer: Answer, reference: HoldoutResult, cost: AdviceCost, results: PilotResults,
    remarks: Sequence[str], path: Path,
) -> str:  # fmt: skip
    """The answer as a line of text, with `remarks` at its end; `path` is that of advice.json."""
    total, tolerance = context.data.total, answer.tolerance
    budget = "at equal compute" if has_equal_compute(context) else "at equal epochs"
    more = "".join(f"; {remark}" for remark in remarks)
    full = f"the {reference.accuracy:.1f}% of a training on everything without KD"
    if answer.fraction is None or answer.kept is None:
        best = int(results.gaps.argmin())
        low = f" (the {answer.confidence:.0%} interval begins at {answer.low:g})" if answer.low is not None else ""
        others = [r for r in answer.other_tolerances if r.tolerance > tolerance and r.fraction is not None][:2]
        return (
            f"{budget}, no fraction below {MAX_FRACTION:g} stays within {tolerance:g} points of {full}: keeping "
            f"{results.fractions[best]:g} of {total:,} is {results.gaps[best]:.2f} ± {results.stderrs[best]:.2f} points "
            f"below it{low}{'; ' * bool(others)}{', '.join(map(describe, others))}. This advice cost {cost.advice:.2f} "
            f"trainings{more}: {path}"
        )
    bounds = f"{answer.low or 1:g} to {answer.high or 1:g}"
    safe = "nothing below 1 is safe" if answer.high is None else f"to be safe keep {answer.high:g}"
    beyond = {None: "", "above": ", beyond the largest pilot", "below": ", the smallest that was tried"}[answer.beyond]
    return (
        f"{budget}, keep {answer.fraction:g} of {total:,} = {answer.kept:,} samples to stay within {tolerance:g} points of "
        f"{full} ({answer.confidence:.0%} interval {bounds}{beyond}; {safe}). {_savings(context, answer.kept, cost)}"
        f"{more}: {path}"
    )


def describe(result: ToleranceResult) -> str:
    """As in "within 2 points: 0.1 (0.08 to 0.2)"."""
    if result.fraction is None:
        return f"within {result.tolerance:g} points: no fraction below {MAX_FRACTION:g}"
    return f"within {result.tolerance:g} points: {result.fraction:g} ({result.low or 1:g} to {result.high or 1:g})"


def _savings(context: Context, kept: int, cost: AdviceCost) -> str:
    advice = f"this advice cost {cost.advice:.2f} trainings"
    saving = saved_share(context, kept)
    if saving <= 0:
        return f"Under the budget '{context.recipe.train.budget}' that saves samples, but no training time; {advice}"
    evidence = " and the scorer's evidence" if cost.evidence else ""
    return (
        f"That saves {saving:.0%} of each later training; {advice}, the teacher{evidence} "
        f"{cost.teacher + cost.evidence:.2f}: they pay off after {cost.break_even(saving, with_teacher=True)} students, the "
        f"advice alone after {cost.break_even(saving, with_teacher=False)}"
    )
