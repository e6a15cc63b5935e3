"""The request for an advice, with all checks before anything is trained or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datapruning.analysis.advise.plan import MIN_PILOTS, ladder
from datapruning.api.student_request import Teachers
from datapruning.artifacts.scorer import Scorer
from datapruning.errors import InvalidValue
from datapruning.evidence.collect import check_evidence, evidence_tables
from datapruning.experiments.sweep.shared_artifacts import teacher_folders
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.teachers.paths import check_teacher
from datapruning.training.distillation.prior import read_prior
from datapruning.utils.hashing import hash_permutation

if TYPE_CHECKING:
    from datapruning.teachers.load import LoadedTeacher

HOLDOUT_KEY = 0xAD7D6
MAX_HOLDOUT_SAMPLES = 5000
MAX_HOLDOUT_FRACTION = 0.1
MIN_TRAINING_SAMPLES = 1000
"""Of fewer training samples, a tenth is too few to measure a point of accuracy."""


class HoldoutSplit(NamedTuple):
    """Sample ids, int64, sorted: the `holdout`, and the `rest`, which the advice treats as the full training set.

    No network of the advice trains on the hold-out, and all are evaluated on it; the test set is not used.
    """

    holdout: NDArray[np.int64]
    rest: NDArray[np.int64]


@dataclass(frozen=True)
class AdviceRequest:
    """The request without the tolerance.

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
    def trains_teacher(self) -> bool:
        """Whether the advice trains a teacher of its own, on all samples but the hold-out.

        Where none is given and the recipe's teacher is trained as students are, the reference is the teacher.
        """
        recipe = self.context.recipe
        mixed = recipe.cutmix.enabled or recipe.mixup.enabled  # no teacher sees mixed images
        reference_teaches = recipe.teacher.training == recipe.train and not mixed
        return not self.given_teachers and not reference_teaches

    @property
    def identity(self) -> dict[str, Any]:
        """All that the trials of the advice depend on, as plain data."""
        context = self.context
        tables = ["views", "train", "cutmix", "mixup", *evidence_tables([self.scorer])]
        tables += [] if self.given_teachers else ["teacher"]
        return {
            "dataset": context.data.name, "fingerprint": context.data.fingerprint, "threads": context.threads,
            "recipe": context.recipe.identity(*tables),
            "kd": context.recipe.kd.to_dict(), "prior": read_prior(context.recipe.kd.prior).to_json(),
            "device": context.device.type, "scorer": self.scorer.name, "seed": self.seed,
            "num_holdout": len(self.split.holdout), "teacher_weights": [t.weights_hash for t in self.given_teachers],
        }  # fmt: skip


def resolve_request(
    context: Context, scorer: str, teachers: Teachers, seed: int, allow_weak_teacher: bool = False
) -> AdviceRequest:
    """Check the arguments of `advise`.

    Raises:
        InvalidValue, UnknownName, InvalidFile, IncompatibleInputs: The user's mistakes.
    """
    if context.recipe.self_distill.enabled:
        raise InvalidValue("the pilots of an advice train without self-distillation: set self_distill.method to none")
    split = split_holdout(context.data.total, seed, context.data.corrupt_ids)
    data, available = context.data, len(split.rest)
    if len(ladder(available, data.classes)) < MIN_PILOTS:
        raise InvalidValue(
            f"{data.name} is too small for advice: {available:,} samples of {data.classes} classes leave no small fractions "
            "to try; train at a few fractions instead (dprune sweep)"
        )
    resolved = get_scorer(scorer)
    check_evidence(context, [resolved])
    folders = teacher_folders(teachers)
    given: tuple[LoadedTeacher, ...] = ()
    if folders:
        for folder in folders:
            check_teacher(folder)
        from datapruning.teachers.accuracy import check_accuracy
        from datapruning.teachers.prepare import load_teachers

        given = tuple(load_teachers(context, folders))
        if not allow_weak_teacher:
            check_accuracy(given, data, paths=folders)
    request = AdviceRequest(context, split, resolved, given, seed)
    if request.trains_teacher:
        context.check_networks("teacher")
    return request


def split_holdout(total: int, seed: int, unreadable: Sequence[int] = ()) -> HoldoutSplit:
    """Draw the holdout from `total` samples, without unreadable ones.

    Raises:
        InvalidValue: The dataset is too small.
    """
    if total < MIN_TRAINING_SAMPLES:
        raise InvalidValue(
            f"advise holds out a tenth of the training samples, and of {total:,} that is too few to measure a point of "
            f"accuracy; it needs at least {MIN_TRAINING_SAMPLES:,}. Train at a few fractions instead (dprune sweep)"
        )
    order = hash_permutation(np.setdiff1d(np.arange(total), unreadable), HOLDOUT_KEY, seed)
    count = min(MAX_HOLDOUT_SAMPLES, int(MAX_HOLDOUT_FRACTION * len(order)))
    return HoldoutSplit(np.sort(order[:count]), np.sort(order[count:]))
