"""What an advice costs and what it saves, in trainings: one training on the full data without KD is 1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from datapruning.analysis.advise.plan import FIRST, LIMIT, NEAR_ENOUGH, rungs
from datapruning.artifacts.scorer import Scorer
from datapruning.evidence.estimate import planned_evidence
from datapruning.io.trial_store import Row
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_samples
from datapruning.utils.cost import FORWARD


@dataclass(frozen=True)
class Cost:
    """In trainings, counted in samples; a teacher's sample counts as a student's, whatever its network.

    Attributes:
        training: samples that one training sees.
        reference: the training on everything but the judges.
        blind_teacher: the advice's own teacher, where the reference is not that.
        pilots: with their soft labels and their judging.
        teacher: the teacher of later students, on all data, which they need whether there is an advice or not.
        evidence: what the scorer reads; shared with later students.
    """

    training: int
    reference: float
    blind_teacher: float
    pilots: float
    teacher: float
    evidence: float

    @property
    def advice(self) -> float:
        """All that would not be there without the advice."""
        return self.reference + self.blind_teacher + self.pilots

    def pays_off_after(self, saving: float, *, with_teacher: bool) -> int | None:
        """How many later students, each of which saves so much of a training, pay for all this; None: no number does."""
        once = self.advice + (self.teacher + self.evidence if with_teacher else 0.0)
        return max(1, math.ceil(once / saving - 1e-9)) if saving > 0 else None


def saving_of(context: Context, kept: int) -> float:
    """The share of a training that is saved by a student on so many samples; nothing under the budget "steps"."""
    training, total = context.recipe.train, context.data.total
    if training.budget == "steps":
        return 0.0
    return 1 - planned_samples(training, kept, total) / planned_samples(training, total, total)


def cost_of(context: Context, scorer: Scorer, reference: Row, blind: Row | None, pilots: Iterable[Row]) -> Cost:
    """Add up rows."""
    recipe, total = context.recipe, context.data.total
    whole = planned_samples(recipe.train, total, total)
    return Cost(
        whole,
        _samples(reference) / whole,
        _samples(blind) / whole if blind else 0.0,
        sum(map(_samples, pilots)) / whole,
        planned_samples(recipe.teacher, total, total) / whole,
        planned_evidence(context, [scorer])[1] / whole,
    )


def _samples(row: Row) -> float:
    return float(row.result["samples_seen"] + FORWARD * row.result["forward_passes"])


@dataclass(frozen=True)
class Price:
    """What an advice will cost, in trainings, soft labels not counted; `fewest` and `most` are of all pilots together."""

    reference: float
    blind_teacher: float
    evidence: float
    fewest: float
    most: float


def price_of(context: Context, scorer: Scorer, available: int, *, blind: bool) -> Price:
    """The price, before anything is trained.

    Args:
        context: with the student's settings.
        scorer: who ranks.
        available: samples but for the judges.
        blind: whether the advice trains a teacher of its own.
    """
    recipe, total = context.recipe, context.data.total
    whole = planned_samples(recipe.train, total, total)
    steps = [float(rung) for rung in rungs(available, context.data.classes)]

    def trainings(fractions: list[float]) -> float:
        return sum(planned_samples(recipe.train, round(f * available), available) for f in fractions) / whole

    teacher = planned_samples(recipe.teacher, available, available) / whole if blind else 0.0
    most = trainings(steps + [LIMIT] * NEAR_ENOUGH)
    return Price(trainings([1.0]), teacher, planned_evidence(context, [scorer])[1] / whole, trainings(steps[:FIRST]), most)
