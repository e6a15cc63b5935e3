"""The teacher's opinion of a few pictures: it is run over just those, as they are shown, without augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, first_line
from datapruning.io.json import read_json
from datapruning.report.shared_costs import teacher_folder
from datapruning.report.student import Student
from datapruning.runs.run import MODEL, RESULT

ROWS = 64


@dataclass(frozen=True)
class Opinions:
    """What a teacher says: by sample id, its class and the probability it gives that class."""

    teacher: Path
    accuracy: float
    by_id: dict[int, tuple[int, float]]


def ask_teacher(students: list[Student], data: Dataset, ids: NDArray[np.int64]) -> Opinions | str:
    """The opinions of the runs' teacher (of the most accurate, where there are several) on training samples.

    Returns:
        the opinions, or in words why there are none.
    """
    found: dict[Path, float] = {}
    sizes: dict[Path, int] = {}
    for student in students:
        for teacher in student.teachers:
            folder = teacher_folder(student, teacher)
            if folder is not None:
                found[folder] = float(teacher.get("test_accuracy", 0))
                sizes[folder] = int(student.config.get("views", {}).get("size", 0))
    if not found:
        return "no run had a teacher, or its folder is not there any more"
    folder = max(found, key=lambda f: found[f])
    try:
        return Opinions(folder, found[folder], _opinions(folder, data, ids, sizes[folder]))
    except DataPruningError as error:
        return f"the teacher cannot be asked: {first_line(error)}"


def _opinions(folder: Path, data: Dataset, ids: NDArray[np.int64], size: int) -> dict[int, tuple[int, float]]:
    import torch

    from datapruning.config.augmentation import AugmentPolicy
    from datapruning.data.augment.views import Views
    from datapruning.io.tensors import load_tensors
    from datapruning.models import create_model
    from datapruning.models.normalization import as_trained
    from datapruning.training.checkpoint import load_weights

    result = read_json(folder / RESULT)
    name = str(result.get("model"))
    policy = AugmentPolicy(size=size)
    model = create_model(name, policy.seen(data.train.shape), data.classes, seed=0)
    load_weights(model, load_tensors(folder / MODEL)[0], folder / MODEL)
    model = as_trained(model, result, data.channel_stats)
    views = Views(policy, *data.channel_stats)
    found: dict[int, tuple[int, float]] = {}
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(ids), ROWS):
            some = ids[start : start + ROWS]
            probabilities = model(views.normalise(torch.from_numpy(data.train.images[some]))).float().softmax(1)
            highest, classes = probabilities.max(1)
            found |= {int(i): (int(c), float(p)) for i, c, p in zip(some, classes, highest, strict=True)}
    return found
