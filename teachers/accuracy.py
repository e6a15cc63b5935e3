"""A teacher near chance is refused before a student is trained: its labels would say nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs
from datapruning.runs.result import ImportedTeacherResult
from datapruning.runs.weights_file import metadata_path
from datapruning.runs.weights_path import is_weights_file
from datapruning.teachers.load import LoadedTeacher


def chance_accuracy(data: Dataset) -> float:
    """The accuracy of always guessing the largest class of the test set, 0..1."""
    return float(np.bincount(data.test.labels).max() / len(data.test))


def is_near_chance(accuracy: float, chance: float) -> bool:
    """Whether an accuracy in 0..1 is below the smaller of twice the chance and a quarter of the way from there to 1."""
    return accuracy < min(2 * chance, chance + (1 - chance) / 4)


def check_accuracy(
    teachers: Sequence[LoadedTeacher], data: Dataset, *, paths: Sequence[Path] | None = None, choose: bool = False
) -> None:
    """Refuse teachers whose accuracy on the test set, as their results record it, is near chance.

    An early checkpoint counts with the accuracy of its finished run.

    Args:
        teachers: those that will teach.
        data: the dataset, whose test set tells what chance is.
        paths: how the user named them; None: their folders.
        choose: one of them will be chosen, so that it is enough if one is better.

    Raises:
        IncompatibleInputs: naming the first.
    """
    chance = chance_accuracy(data)
    weak = [
        (teacher, path)
        for teacher, path in zip(teachers, paths or [teacher.folder for teacher in teachers], strict=True)
        if is_near_chance(teacher.result.test_accuracy / 100, chance)
    ]
    if not weak or (choose and len(weak) < len(teachers)):
        return
    teacher, path = weak[0]
    if isinstance(teacher.result, ImportedTeacherResult):
        source = metadata_path(path if is_weights_file(path) else Path(teacher.result.source))
        remedy = f"list its classes in their order in {source}, check mean and std there"
    else:
        remedy = "train it longer or with other settings"
    raise IncompatibleInputs(
        f"teacher {path} has {teacher.result.test_accuracy:.2f}% on the test set of {data.name}, near chance "
        f"({100 * chance:.2f}%): {remedy}, or allow a weak teacher",
        parameter="allow_weak_teacher",
    )
