"""What an advice costs and what it saves, in trainings: one training on the full data without KD is 1.

Costs are counted in floating-point operations: a teacher's sample counts by the size of its network.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from datapruning.analysis.advise.holdout_result import PILOT, RANDOM, REFERENCE, TEACHER, HoldoutResult
from datapruning.analysis.advise.plan import MAX_FRACTION, MIN_NEAR_PILOTS, MIN_PILOTS, ladder
from datapruning.analysis.advise.request import AdviceRequest
from datapruning.config.training import TrainConfig
from datapruning.evidence.collect import estimate_evidence_cost, evidence_seconds
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_epochs, planned_flops


@dataclass(frozen=True)
class AdviceCost:
    """What an advice has cost, in trainings.

    Attributes:
        training: Floating-point operations of one training.
        reference: The training on everything but the hold-out.
        holdout_teacher: The advice's own teacher; 0 where the reference is that.
        pilots: With their soft labels and their evaluation, and a pilot on random samples that a scorer is compared with.
        teacher: The teacher of later students, on all data, which they need with or without an advice.
        evidence: What the scorer reads; shared with later students.
    """

    training: int
    reference: float
    holdout_teacher: float
    pilots: float
    teacher: float
    evidence: float

    @property
    def advice(self) -> float:
        """All that would not have been trained without the advice."""
        return self.reference + self.holdout_teacher + self.pilots

    def break_even(self, saving: float, *, with_teacher: bool) -> int | None:
        """Return how many later students, each saving a share of a training, repay the cost; None: no number does."""
        cost = self.advice + (self.teacher + self.evidence if with_teacher else 0.0)
        return max(1, math.ceil(cost / saving - 1e-9)) if saving > 0 else None


def estimate_message(request: AdviceRequest, num_finished: int) -> str:
    """What an advice will cost, before anything is trained; `num_finished` of its trainings are finished already."""
    context, available = request.context, len(request.split.rest)
    full, train = _full_training(context), context.recipe.train
    fractions = [float(fraction) for fraction in ladder(available, context.data.classes)]

    def trainings(train: TrainConfig, *fractions: float) -> float:
        return sum(_planned_flops(context, train, round(fraction * available), available) for fraction in fractions) / full

    parts = [f"a training on the others without KD ({trainings(train, 1.0):.2f} trainings)"]
    if request.trains_teacher:
        parts.append(f"a teacher without the hold-out ({trainings(context.recipe.teacher, 1.0):.2f})")
    if evidence := estimate_evidence_cost(context, [request.scorer]).flops / full:
        parts.append(f"the scorer's evidence ({evidence:.2f})")
    lowest = trainings(train, *fractions[:MIN_PILOTS])
    highest = trainings(train, *fractions, *[MAX_FRACTION] * MIN_NEAR_PILOTS)
    baseline = "" if request.scorer.name == RANDOM else ", and one more on random samples to compare with"
    finished = f"; {num_finished} of these trainings are finished already" if num_finished else ""
    return (
        f"advise: {len(request.split.holdout):,} of {context.data.total:,} training samples are held out for evaluation. "
        f"The cost: {', '.join(parts)}, then pilots, each with the KD weight and temperature that a search begins with, one "
        f"by one from small to large, {lowest:.2f} to about {highest:.1f} trainings in all{baseline}{finished}. It can be "
        "stopped at any time; the same command continues"
    )


def advice_seconds(request: AdviceRequest, finished: Collection[str]) -> dict[str, float]:
    """Seconds of what an advice trains in any case, the first pilots among it, without the trainings that are `finished`."""
    from datapruning.training.speed import forward_seconds, training_seconds

    context, available, train = request.context, len(request.split.rest), request.context.recipe.train
    teacher = context.recipe.teacher.training
    kept = [round(float(fraction) * available) for fraction in ladder(available, context.data.classes)[:MIN_PILOTS]]
    parts = {
        REFERENCE: training_seconds(context, train, available, available),
        TEACHER: training_seconds(context, teacher, available, available) if request.trains_teacher else 0.0,
    }
    parts = {name: 0.0 if name in finished else seconds for name, seconds in parts.items()}
    parts |= evidence_seconds(context, [request.scorer], request.seed)
    if PILOT not in finished:
        num_views = context.recipe.views.num_views
        labels = sum(count * min(num_views, planned_epochs(train, count, available)) for count in kept)
        pilots = sum(training_seconds(context, train, count, available, is_taught=True) for count in kept)
        parts[f"first {len(kept)} pilots"] = pilots + forward_seconds(context, teacher, labels)
    return parts


def add_costs(
    request: AdviceRequest, reference: HoldoutResult, teacher: HoldoutResult | None, pilots: Iterable[HoldoutResult]
) -> AdviceCost:
    """Add up what was trained."""
    context = request.context
    full, total = _full_training(context), context.data.total

    def trainings(*results: HoldoutResult) -> float:
        return sum(result.flops for result in results) / full

    return AdviceCost(
        full,
        trainings(reference),
        trainings(teacher) if teacher is not None else 0.0,
        trainings(*pilots),
        _planned_flops(context, context.recipe.teacher, total, total) / full,
        estimate_evidence_cost(context, [request.scorer]).flops / full,
    )


def saved_share(context: Context, kept: int) -> float:
    """Return the share of a training that a student on `kept` samples saves; none where the budget is fixed."""
    train = context.recipe.train
    if train.budget != "epochs":
        return 0.0
    return 1 - _planned_flops(context, train, kept, context.data.total) / _full_training(context)


def _full_training(context: Context) -> int:
    return _planned_flops(context, context.recipe.train, context.data.total, context.data.total)


def _planned_flops(context: Context, train: TrainConfig, kept: int, total: int) -> int:
    return planned_flops(train, kept, total, context.shape, context.data.classes)
