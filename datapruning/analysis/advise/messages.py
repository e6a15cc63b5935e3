"""What an advice says."""

from __future__ import annotations

import math
from pathlib import Path

from datapruning.analysis.advise.answer import Answer, Reach
from datapruning.analysis.advise.cost import Cost, Price, saving_of
from datapruning.analysis.advise.curve import Marks
from datapruning.analysis.advise.holdout import Parts
from datapruning.analysis.advise.pilots import opening_arm
from datapruning.analysis.advise.plan import LIMIT
from datapruning.io.trial_store import Row
from datapruning.runs.context import Context
from datapruning.utils.fraction import keeping


def priced(context: Context, parts: Parts, price: Price, done: int) -> str:
    """Before anything is trained; `done`: how many rows are there."""
    teacher = f", a teacher that is blind to the judges ({price.blind_teacher:.2f})" if price.blind_teacher else ""
    evidence = f", the scorer's evidence ({price.evidence:.2f})" if price.evidence else ""
    there = f"; {done} of these trainings are there already" if done else ""
    return (
        f"advise: {len(parts.judges):,} of {context.data.total:,} training samples are set aside as judges. The price: a "
        f"training on the others without KD ({price.reference:.2f} trainings){teacher}{evidence}, then pilots with KD "
        f"weight {opening_arm(context)}, one by one from small to large, {price.fewest:.2f} to about {price.most:.1f} "
        f"trainings in all{there}. Stop it whenever you like, the same command goes on"
    )


def referenced(row: Row, parts: Parts) -> str:
    """After the reference."""
    rate = row.result["accuracy"]
    stderr = math.sqrt(rate * (100 - rate) / len(parts.judges))
    return f"reference: {keeping(row.result['kept'], len(parts.rest))} without KD, {rate:.2f}% ± {stderr:.2f} of the judges"


def piloted(row: Row, reference: Row, available: int) -> str:
    """After a pilot."""
    short = reference.result["accuracy"] - row.result["accuracy"]
    side = f"{abs(short):.2f} points {'short' if short > 0 else 'ahead'}"
    kept = keeping(row.result["kept"], available)
    return f"  fraction {row.config['fraction']}, {kept}: {row.result['accuracy']:.2f}%, {side}, {row.seconds:.0f} s"


def answered(context: Context, answer: Answer, reference: Row, cost: Cost, marks: Marks, file: Path) -> str:
    """The answer, a line."""
    total, tolerance = context.data.total, answer.tolerance
    full = f"the {reference.result['accuracy']:.1f}% that all of them give without KD"
    if answer.fraction is None or answer.kept is None:
        best = int(marks.gaps.argmin())
        return (
            f"no fraction below {LIMIT:g} stays within {tolerance:g} points of {full}: keeping {marks.fractions[best]:g} of "
            f"{total:,} is {marks.gaps[best]:.2f} ± {marks.stderrs[best]:.2f} points short of it"
            f"{_begins(answer)}{_elsewhere(answer)}. This advice cost {cost.advice:.2f} trainings: {file}"
        )
    bounds = f"{answer.low or 1:g} to {answer.high or 1:g}"
    safe = "nothing below 1 is safe" if answer.high is None else f"to be safe keep {answer.high:g}"
    beyond = {None: "", "above": ", beyond the largest pilot", "below": ", the smallest that was tried"}[answer.beyond]
    return (
        f"keep {answer.fraction:g} of {total:,} = {answer.kept:,} samples to stay within {tolerance:g} points of {full} "
        f"({answer.confidence:.0%} interval {bounds}{beyond}; {safe}). {_saved(context, answer.kept, cost)}: {file}"
    )


def _begins(answer: Answer) -> str:
    return f" (the {answer.confidence:.0%} interval begins at {answer.low:g})" if answer.low is not None else ""


def _elsewhere(answer: Answer) -> str:
    """Which tolerance would be reached, by which fraction."""
    reached = [other for other in answer.others if other.tolerance > answer.tolerance and other.fraction is not None]
    if not reached:
        return ""
    return "; " + ", ".join(f"within {_reach(each)}" for each in reached[:2])


def _reach(reach: Reach) -> str:
    return f"{reach.tolerance:g} points: {reach.fraction:g} ({reach.low or 1:g} to {reach.high or 1:g})"


def _saved(context: Context, kept: int, cost: Cost) -> str:
    spent = f"this advice cost {cost.advice:.2f} trainings"
    saving = saving_of(context, kept)
    if saving <= 0:
        return f"Under the budget 'steps' that saves samples, but no training time; {spent}"
    also = " and the scorer's evidence" if cost.evidence else ""
    others = cost.teacher + cost.evidence
    alone = cost.pays_off_after(saving, with_teacher=False)
    whole = cost.pays_off_after(saving, with_teacher=True)
    return (
        f"That saves {saving:.0%} of each later training; {spent}, the teacher{also} {others:.2f}: they pay off after "
        f"{whole} students, the advice alone after {alone}"
    )
