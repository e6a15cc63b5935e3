"""The messages of an advice."""

import math
from pathlib import Path

from datapruning.analysis.advise.answer import Answer, ToleranceResult
from datapruning.analysis.advise.cost import AdviceCost, CostEstimate, saved_share
from datapruning.analysis.advise.curve import PilotResults
from datapruning.analysis.advise.pilots import HoldoutResult
from datapruning.analysis.advise.plan import MAX_FRACTION, Pilot
from datapruning.analysis.advise.request import AdviceRequest, initial_candidate
from datapruning.runs.context import Context
from datapruning.utils.fraction import describe_kept


def cost_message(request: AdviceRequest, cost: CostEstimate, num_finished: int) -> str:
    """Before anything is trained; `num_finished` trials are in the store."""
    teacher = f", a teacher without the hold-out ({cost.holdout_teacher:.2f})" if cost.holdout_teacher else ""
    evidence = f", the scorer's evidence ({cost.evidence:.2f})" if cost.evidence else ""
    finished = f"; {num_finished} of these trainings are finished already" if num_finished else ""
    return (
        f"advise: {len(request.split.holdout):,} of {request.context.data.total:,} training samples are held out for "
        f"evaluation. The cost: a training on the others without KD ({cost.reference:.2f} trainings){teacher}{evidence}, "
        f"then pilots with KD weight {initial_candidate(request.context)}, one by one from small to large, "
        f"{cost.min_pilots:.2f} to about {cost.max_pilots:.1f} trainings in all{finished}. It can be stopped at any time; "
        "the same command continues"
    )


def reference_message(reference: HoldoutResult, request: AdviceRequest) -> str:
    """After the reference."""
    stderr = math.sqrt(reference.accuracy * (100 - reference.accuracy) / len(request.split.holdout))
    kept = describe_kept(reference.kept, len(request.split.rest))
    return f"reference: {kept} without KD, {reference.accuracy:.2f}% ± {stderr:.2f} of the hold-out"


def pilot_message(pilot: Pilot, result: HoldoutResult, reference: HoldoutResult, available: int) -> str:
    """After a pilot."""
    gap = reference.accuracy - result.accuracy
    difference = f"{abs(gap):.2f} points {'below' if gap > 0 else 'above'} the reference"
    kept = describe_kept(result.kept, available)
    return f"  fraction {pilot.fraction}, {kept}: {result.accuracy:.2f}%, {difference}, {result.trial_seconds:.0f} s"


def answer_message(
    context: Context, answer: Answer, reference: HoldoutResult, cost: AdviceCost, results: PilotResults, path: Path
) -> str:
    """The answer, a line."""
    total, tolerance = context.data.total, answer.tolerance
    full = f"the {reference.accuracy:.1f}% of a training on everything without KD"
    if answer.fraction is None or answer.kept is None:
        best = int(results.gaps.argmin())
        low = f" (the {answer.confidence:.0%} interval begins at {answer.low:g})" if answer.low is not None else ""
        others = [r for r in answer.other_tolerances if r.tolerance > tolerance and r.fraction is not None][:2]
        return (
            f"no fraction below {MAX_FRACTION:g} stays within {tolerance:g} points of {full}: keeping "
            f"{results.fractions[best]:g} of {total:,} is {results.gaps[best]:.2f} ± {results.stderrs[best]:.2f} points "
            f"below it{low}{'; ' * bool(others)}{', '.join(map(_describe, others))}. This advice cost {cost.advice:.2f} "
            f"trainings: {path}"
        )
    bounds = f"{answer.low or 1:g} to {answer.high or 1:g}"
    safe = "nothing below 1 is safe" if answer.high is None else f"to be safe keep {answer.high:g}"
    beyond = {None: "", "above": ", beyond the largest pilot", "below": ", the smallest that was tried"}[answer.beyond]
    return (
        f"keep {answer.fraction:g} of {total:,} = {answer.kept:,} samples to stay within {tolerance:g} points of {full} "
        f"({answer.confidence:.0%} interval {bounds}{beyond}; {safe}). {_savings(context, answer.kept, cost)}: {path}"
    )


def _describe(result: ToleranceResult) -> str:
    return f"within {result.tolerance:g} points: {result.fraction:g} ({result.low or 1:g} to {result.high or 1:g})"


def _savings(context: Context, kept: int, cost: AdviceCost) -> str:
    advice = f"this advice cost {cost.advice:.2f} trainings"
    saving = saved_share(context, kept)
    if saving <= 0:
        return f"Under the budget 'steps' that saves samples, but no training time; {advice}"
    evidence = " and the scorer's evidence" if cost.evidence else ""
    return (
        f"That saves {saving:.0%} of each later training; {advice}, the teacher{evidence} "
        f"{cost.teacher + cost.evidence:.2f}: they pay off after {cost.break_even(saving, with_teacher=True)} students, the "
        f"advice alone after {cost.break_even(saving, with_teacher=False)}"
    )
