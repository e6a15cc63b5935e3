"""The teachers of a student: they are loaded and checked, and their soft labels of its samples computed."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.context import Context
from datapruning.runs.result import PhaseCosts, PhaseSeconds, TeachingRecord
from datapruning.runs.weights_path import is_weights_file
from datapruning.teachers.accuracy import check_accuracy
from datapruning.teachers.from_file import import_teacher
from datapruning.teachers.load import LoadedTeacher, load_early_teachers, load_teacher
from datapruning.teachers.paths import parse_teacher_path
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.teachers.train import train_teacher
from datapruning.training.schedules import planned_epochs
from datapruning.utils.console import info
from datapruning.utils.cost import NO_COST, ComputeCost
from datapruning.utils.processes import agree


def load_teachers(context: Context, paths: Sequence[Path]) -> list[LoadedTeacher]:
    """The named runs as teachers for the context's data; RUN@EPOCH is an early checkpoint of a run.

    A file of weights becomes a run first (`import_teacher`).

    Raises:
        InvalidFile, IncompatibleInputs, InvalidValue: one that is no finished run on this data or kept no weights of that
            epoch, weights that do not fit.
    """
    teachers = []
    for path, epoch in map(parse_teacher_path, paths):
        folder = import_teacher(context, path) if is_weights_file(path) else path
        teachers.append(load_teacher(folder, context.data, context.device, context.shape, epoch))
    return teachers


def candidate_models(context: Context) -> tuple[str, ...]:
    """The networks that a choice among teachers trains where none is named; the first is the one to begin with."""
    return context.recipe.kd.teacher_candidates or (context.recipe.teacher.model,)


def has_choice(context: Context, teachers: Sequence[LoadedTeacher]) -> bool:
    """Whether there are several to choose from: networks, or early checkpoints of one. Nothing is trained.

    Raises:
        InvalidFile: an early checkpoint is gone.
    """
    if teachers:
        return len(add_early_teachers(context, teachers)) > 1
    teacher, data = context.recipe.teacher, context.data
    num_epochs = planned_epochs(teacher, len(data.valid_ids), data.total)
    return len(candidate_models(context)) > 1 or bool(teacher.early_epochs(num_epochs))


def add_early_teachers(context: Context, teachers: Sequence[LoadedTeacher]) -> list[LoadedTeacher]:
    """The teachers, and then their early checkpoints, those of the first teacher first.

    Raises:
        InvalidFile: an early checkpoint is gone.
    """
    known = {teacher.weights_hash for teacher in teachers}
    early = [
        checkpoint
        for teacher in teachers
        for checkpoint in load_early_teachers(teacher, context.data, context.device, context.shape)
        if checkpoint.weights_hash not in known
    ]
    return [*teachers, *early]


def missing_labels(context: Context, teacher: LoadedTeacher, ids: NDArray[np.int64], epochs: range) -> int:
    """The number of soft labels of `ids` int64 in the context's views of these epochs that a teacher has not given yet."""
    cache = _open_cache(context, teacher)
    return agree(sum(len(cache.store.missing(ids, view)) for view in {context.views.view_index(epoch) for epoch in epochs}))


def _open_cache(context: Context, teacher: LoadedTeacher) -> SoftLabelCache:
    data = context.data
    return SoftLabelCache(
        teacher, context.views, data.fingerprint, data.total, data.classes, context.workspace / "soft-labels",
        read_only=not context.may_write(teacher.folder),
    )  # fmt: skip


class TeacherLabelSource:
    """Soft labels of the candidate teachers of a student, made when they are first asked for.

    `teachers` teach together, as one candidate, unless `choose`: then each is a candidate of its own. Without any, the
    recipe's teacher or candidates are used, and trained first if they are missing. Early checkpoints are candidates, too,
    where there is a choice, and with `early` those of a single teacher. Those that are trained here are refused where they
    are near chance, unless `allow_weak` (`check_accuracy`).
    """

    def __init__(
        self,
        context: Context,
        teachers: Sequence[LoadedTeacher],
        *,
        choose: bool = False,
        early: bool = False,
        allow_weak: bool = False,
    ) -> None:
        started = time.perf_counter()
        if not teachers:
            models = candidate_models(context) if choose else (context.recipe.teacher.model,)
            teachers = load_teachers(context, [train_teacher(context, seed=0, model=model).folder for model in models])
            if not allow_weak:
                check_accuracy(teachers, context.data, choose=choose)
        self._choose = choose
        if choose or (early and len(teachers) == 1):
            self._candidates = [[teacher] for teacher in add_early_teachers(context, teachers)]
        else:
            self._candidates = [list(teachers)]
        if len(self._candidates) > 1:
            names = [f"{number} {teacher.record.name}" for number, (teacher,) in enumerate(self._candidates, 1)]
            info(f"teachers to choose from: {', '.join(names)}")
        self._teacher_seconds = time.perf_counter() - started
        self._label_seconds, self._computed = 0.0, 0
        self._caches: dict[Path, SoftLabelCache] = {}
        self._requested: dict[Path, dict[int, int]] = {}  # of each cache: view -> number of labels

    @property
    def num_teachers(self) -> int:
        """Number of candidate teachers."""
        return len(self._candidates)

    @property
    def teacher_ages(self) -> list[float]:
        """Of each candidate, the share of its training after which its weights were kept; 1: all of it."""
        return [min(teacher.age for teacher in candidate) for candidate in self._candidates]

    @property
    def cost(self) -> ComputeCost:
        """Of all labels that were asked for so far, whether they were there or not."""
        counts = {folder: sum(views.values()) for folder, views in self._requested.items()}
        return sum((self._caches[folder].cost(count) for folder, count in counts.items()), NO_COST)

    def labels(self, context: Context, ids: NDArray[np.int64], teacher: int, epochs: range) -> TeacherLabels:
        """The soft labels of a candidate teacher, filled for `ids` int64 in the context's views of these epochs."""
        started, views = time.perf_counter(), context.views
        caches = []
        for member in self._candidates[teacher]:
            opened = _open_cache(context, member)
            cache = self._caches.setdefault(opened.key, opened)
            self._computed += cache.fill(context.loader("train"), ids, epochs)
            requested = self._requested.setdefault(cache.key, {})
            requested.update({views.view_index(epoch): len(ids) for epoch in epochs})
            caches.append(cache)
        self._label_seconds += time.perf_counter() - started
        return TeacherLabels(caches)

    def record(self, chosen: int, other_labels: ComputeCost) -> TeachingRecord:
        """The teachers, of which number `chosen` teaches, and the cost of their labels without `other_labels`."""
        if not self._computed and self._caches:
            info(f"soft labels: used those in {', '.join(str(cache.folder) for cache in self._caches.values())}")
        members = [teacher for candidate in self._candidates for teacher in candidate]
        networks = {teacher.folder: teacher.result.training_cost for teacher in members}  # early ones cost nothing more
        return TeachingRecord(
            teacher=tuple(teacher.record for teacher in self._candidates[chosen]),
            teacher_candidates=tuple(teacher.record for teacher in members) if self._choose else None,
            soft_labels_computed=self._computed,
            seconds=PhaseSeconds(teacher=round(self._teacher_seconds, 3), soft_labels=round(self._label_seconds, 3)),
            costs=PhaseCosts(teacher=sum(networks.values(), NO_COST), soft_labels=self.cost - other_labels),
        )
