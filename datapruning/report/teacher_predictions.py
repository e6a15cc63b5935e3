"""What the teacher predicts for a few training samples, as they are shown: without augmentation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, first_line
from datapruning.report.run_records import RunRecord
from datapruning.runs.result import TeacherRecord
from datapruning.runs.run import RESULT

BATCH_SIZE = 64


@dataclass(frozen=True)
class TeacherPredictions:
    """The predictions of a teacher: sample id -> (class, probability).

    `path` is its run, with @EPOCH for an early checkpoint, which has no test `accuracy` in percent.
    """

    path: Path
    accuracy: float | None
    by_id: Mapping[int, tuple[int, float]]


def predict_samples(runs: Iterable[RunRecord], data: Dataset, ids: NDArray[np.int64]) -> TeacherPredictions | str:
    """Predict training samples (`ids`, int64 [n]) with the runs' teacher; of several, with the most accurate one.

    Returns the predictions, or the reason why there are none.
    """
    import torch

    from datapruning.data.augment.augmentation import Augmentation
    from datapruning.teachers.load import load_teacher

    teachers: list[tuple[float, Path, TeacherRecord, int]] = []
    for run in runs:
        size = int(run.config.get("views", {}).get("size", 0))
        for record in run.teachers:
            if (folder := _find_folder(run, record)) is not None:
                teachers.append((record.test_accuracy or 0.0, folder, record, size))
    if not teachers:
        return "no run had a teacher, or its folder is not there any more"
    _, folder, record, size = max(teachers, key=lambda teacher: teacher[0])
    policy = AugmentPolicy(size=size)
    try:
        teacher = load_teacher(folder, data, torch.device("cpu"), policy.output_shape(data.train.shape), record.epoch)
    except DataPruningError as error:
        return f"the teacher cannot be loaded: {first_line(error)}"
    views = Augmentation(policy, *data.channel_stats)
    predictions: dict[int, tuple[int, float]] = {}
    with torch.inference_mode():
        for batch in (ids[start : start + BATCH_SIZE] for start in range(0, len(ids), BATCH_SIZE)):
            images = torch.from_numpy(data.train.images[batch])
            highest, classes = teacher.model(views.normalise(images)).float().softmax(1).max(1)
            predictions |= {int(i): (int(c), float(p)) for i, c, p in zip(batch, classes, highest, strict=True)}
    return TeacherPredictions(Path(teacher.record.path), record.test_accuracy, predictions)


def _find_folder(run: RunRecord, teacher: TeacherRecord) -> Path | None:
    """A teacher's run: where it was, or in the student's own workspace, should that have moved."""
    recorded = Path(teacher.folder)
    folders = [recorded, *(workspace / "teachers" / recorded.name for workspace in run.workspaces)]
    return next((folder for folder in folders if (folder / RESULT).exists()), None)
