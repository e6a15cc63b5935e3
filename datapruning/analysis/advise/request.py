"""What is asked of an advice, with all that can be refused checked before anything is trained or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datapruning.analysis.advise.holdout import HoldoutSplit, split_holdout
from datapruning.analysis.advise.plan import MIN_PILOTS, ladder
from datapruning.api.student_request import Teachers
from datapruning.artifacts.scorer import Scorer
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.evidence.estimate import evidence_tables
from datapruning.experiments.sweep.shared_artifacts import check_evidence, teacher_folders
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.teachers.load import LoadedTeacher
from datapruning.teachers.prepare import load_teachers
from datapruning.training.distillation.weight_search import Candidate, prior_weight


@dataclass(frozen=True)
class AdviceRequest:
    """What is asked, but for the tolerance.

    Attributes:
        context: With the student's settings.
        split: The hold-out and the rest.
        scorer: Ranks the samples.
        given_teachers: Those that the user names, which may have been trained on the hold-out; empty: one is trained.
        seed: Random seed of the hold-out, subsets, initialisation and sample order.
    """

    context: Context
    split: HoldoutSplit
    scorer: Scorer
    given_teachers: tuple[LoadedTeacher, ...]
    seed: int

    @property
    def reference_teaches(self) -> bool:
        """Whether the reference is the teacher: no teacher is given, and the recipe's teacher is trained as students are."""
        recipe = self.context.recipe
        teachers_alike = recipe.teacher == recipe.train and not recipe.cutmix.prob  # no teacher sees mixed images
        return not self.given_teachers and teachers_alike

    @property
    def trains_teacher(self) -> bool:
        """Whether the advice trains a teacher of its own, on all samples but the hold-out."""
        return not self.given_teachers and not self.reference_teaches

    @property
    def identity(self) -> dict[str, Any]:
        """All that the trials of the advice depend on, as plain data."""
        context, candidate = self.context, initial_candidate(self.context)
        tables = ["views", "train", "cutmix", *([] if self.given_teachers else ["teacher"]), *evidence_tables([self.scorer])]
        return {
            "dataset": context.data.name, "fingerprint": context.data.fingerprint, "threads": context.threads,
            "recipe": context.recipe.identity(*tables),
            "kd_weight": candidate.weight, "temperature": candidate.temperature,
            "confidence_weighting": candidate.confidence_weighting,
            "device": context.device.type, "scorer": self.scorer.name, "seed": self.seed,
            "num_holdout": len(self.split.holdout), "teacher_weights": [t.weights_hash for t in self.given_teachers],
        }  # fmt: skip


def resolve_request(context: Context, scorer: str, teachers: Teachers, seed: int) -> AdviceRequest:
    """Check the arguments of `advise`.

    Raises:
        InvalidValue, UnknownName, InvalidFile, IncompatibleInputs: The user's mistakes.
    """
    if context.recipe.self_distill.enabled:
        raise InvalidValue("the pilots of an advice train without self-distillation: set self_distill.method to none")
    split = split_holdout(context.data.total, seed, context.data.corrupt_ids)
    _check_size(context.data, len(split.rest))
    resolved = get_scorer(scorer)
    check_evidence(context, [resolved])
    folders = teacher_folders(teachers)
    given: Sequence[LoadedTeacher] = load_teachers(context, folders) if folders else ()
    return AdviceRequest(context, split, resolved, tuple(given), seed)


def initial_candidate(context: Context) -> Candidate:
    """Return KD weight and temperature of the pilots: those that the search for the KD weight begins with."""
    kd = context.recipe.kd
    weight = prior_weight(kd.weight_grid)
    return Candidate(weight, kd.temperatures[0], kd.confidence_weighting and weight < 1)


def _check_size(data: Dataset, available: int) -> None:
    if len(ladder(available, data.classes)) < MIN_PILOTS:
        raise InvalidValue(
            f"{data.name} is too small for advice: {available:,} samples of {data.classes} classes leave no small fractions "
            "to try; train at a few fractions instead (dprune sweep)"
        )
