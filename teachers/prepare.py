"""Preparing the teachers of a student: they are loaded and checked, and their soft labels of its samples computed."""

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.context import Context
from datapruning.runs.result import PhaseCosts, PhaseSeconds, TeachingRecord
from datapruning.teachers.from_file import import_teacher, is_weights_file
from datapruning.teachers.load import LoadedTeacher, load_early_teachers, load_teacher, parse_teacher_path
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.teachers.train import train_teacher
from datapruning.training.schedules import planned_epochs
from datapruning.utils.console import info
from datapruning.utils.cost import NO_COST

MAX_EARLY_CANDIDATES = 3
"""Early checkpoints that a choice among teachers tries beside the finished ones: each costs soft labels, and a probe."""


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
    """The teachers, and then at most `MAX_EARLY_CANDIDATES` of their early checkpoints, those of the first teacher first.

    Raises:
        InvalidFile: an early checkpoint is gone.
    """
    known = {teacher.weights_hash for teacher in teachers}
    early = (
        checkpoint
        for teacher in teachers
        for checkpoint in load_early_teachers(teacher, context.data, context.device, context.shape)
        if checkpoint.weights_hash not in known
    )
    return [*teachers, *islice(early, MAX_EARLY_CANDIDATES)]


def prepare_labels(
    context: Context, teachers: Sequence[LoadedTeacher], ids: NDArray[np.int64], *, choose: bool = False
) -> tuple[list[TeacherLabels], TeachingRecord]:
    """Soft labels of `ids` for a student under the recipe's [train], and the record of its teachers.

    Several teachers teach together; with `choose` each has labels of its own, as some of their early checkpoints have
    (`add_early_teachers`), and one will be chosen. Without any, the recipe's teacher or candidates are used, and trained
    first if they are missing.
    """
    started = time.perf_counter()
    if not teachers:
        models = candidate_models(context) if choose else (context.recipe.teacher.model,)
        teachers = load_teachers(context, [train_teacher(context, seed=0, model=model).folder for model in models])
    if choose:
        teachers = add_early_teachers(context, teachers)
    teachers_ready = time.perf_counter()
    data, views = context.data, context.for_subset(ids).views
    caches = [SoftLabelCache(t, views, data.fingerprint, data.total, data.classes) for t in teachers]
    epochs = planned_epochs(context.recipe.train, len(ids), data.total)
    computed = sum(cache.fill(context.loader("train"), ids, epochs) for cache in caches)
    if not computed:
        info(f"soft labels: using those in {', '.join(str(cache.folder) for cache in caches)}")
    label_seconds = time.perf_counter() - teachers_ready
    # early checkpoints cost nothing more than their run
    trainings = {teacher.folder.resolve(): teacher.result.training_cost for teacher in teachers}
    teaching = TeachingRecord(
        teacher=tuple(teacher.record for teacher in teachers),
        soft_labels_computed=computed,
        seconds=PhaseSeconds(teacher=round(teachers_ready - started, 3), soft_labels=round(label_seconds, 3)),
        costs=PhaseCosts(
            teacher=sum(trainings.values(), NO_COST),
            soft_labels=sum((cache.cost(ids, epochs) for cache in caches), NO_COST),
        ),
    )
    return [TeacherLabels([cache]) for cache in caches] if choose else [TeacherLabels(caches)], teaching
