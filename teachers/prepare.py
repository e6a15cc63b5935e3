"""Getting teachers ready for a student: loaded and checked, their soft labels filled for the samples that are kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.context import Context
from datapruning.teachers.from_file import import_teacher, is_weights_file
from datapruning.teachers.load import Teacher, load_teacher
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.teachers.train import train_teacher
from datapruning.training.schedules import planned_epochs
from datapruning.utils.console import say
from datapruning.utils.cost import Cost, cost_of_run


def load_teachers(context: Context, folders: Sequence[Path]) -> list[Teacher]:
    """The named runs as teachers for the context's data. A file of weights becomes a run first (`import_teacher`).

    Raises:
        InvalidFile, IncompatibleInputs: one that is no finished run on this data, weights that do not fit.
    """
    runs = [import_teacher(context, path) if is_weights_file(path) else path for path in folders]
    return [load_teacher(folder, context.data, context.device, context.shape) for folder in runs]


def train_ladder(context: Context) -> list[Teacher]:
    """A teacher of each network in the recipe's `kd.teacher_candidates`, trained where it is not there."""
    folders = [train_teacher(context, seed=0, model=model).folder for model in context.recipe.kd.teacher_candidates]
    return load_teachers(context, folders)


def prepare_labels(
    context: Context, named: Sequence[Teacher], ids: NDArray[np.int64]
) -> tuple[TeacherLabels, dict[str, Any]]:
    """Soft labels of `ids` for a student under the recipe's [train], and what result.json says of them.

    Several teachers teach together. Where none is named, the recipe's own teaches; it is trained first if it is not there.
    """
    started = time.perf_counter()
    teachers = list(named) or load_teachers(context, [train_teacher(context, seed=0).folder])
    caches, story = _filled(context, teachers, ids, started)
    return TeacherLabels(caches), story


def prepare_candidates(
    context: Context, named: Sequence[Teacher], ids: NDArray[np.int64]
) -> tuple[list[TeacherLabels], dict[str, Any]]:
    """The same for teachers of which one is to be chosen: the named ones, or the recipe's ladder."""
    started = time.perf_counter()
    caches, story = _filled(context, list(named) or train_ladder(context), ids, started)
    return [TeacherLabels([cache]) for cache in caches], story


def _filled(
    context: Context, teachers: Sequence[Teacher], ids: NDArray[np.int64], started: float
) -> tuple[list[SoftLabelCache], dict[str, Any]]:
    taught = time.perf_counter()
    data = context.data
    views = context.among(ids).views
    caches = [SoftLabelCache(t, views, data.fingerprint, data.total, data.classes) for t in teachers]
    epochs = planned_epochs(context.recipe.train, len(ids), data.total)
    computed = sum(cache.fill(context.split("train"), ids, epochs) for cache in caches)
    if not computed:
        say(f"soft labels: using those in {', '.join(str(cache.folder) for cache in caches)}")
    labelling = sum((cache.cost(ids, epochs) for cache in caches), Cost())
    teaching = sum((cost_of_run(t.result) for t in teachers), Cost())
    return caches, {
        "teacher": [t.summary for t in teachers],
        "soft_labels_computed": computed,
        "seconds": {"teacher": taught - started, "soft_labels": time.perf_counter() - taught},
        "costs": {"teacher": asdict(teaching), "soft_labels": asdict(labelling)},
    }
