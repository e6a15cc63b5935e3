"""What the teacher predicts for a few training samples, as they are shown: without augmentation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, first_line
from datapruning.report.run_records import RunRecord
from datapruning.runs.result import RunResult, TeacherRecord
from datapruning.runs.run import MODEL, RESULT

BATCH_SIZE = 64


@dataclass(frozen=True)
class TeacherPredictions:
    """The predictions of a teacher.

    Attributes:
        folder: The teacher's run.
        accuracy: Its test accuracy in percent.
        by_id: Sample id -> predicted class and its probability.
    """

    folder: Path
    accuracy: float
    by_id: Mapping[int, tuple[int, float]]


def predict_samples(runs: Iterable[RunRecord], data: Dataset, ids: NDArray[np.int64]) -> TeacherPredictions | str:
    """Predict training samples with the runs' teacher; where there are several, with the most accurate one.

    Args:
        runs: Runs on the dataset.
        data: The dataset.
        ids: int64 [n], sample ids.

    Returns:
        The predictions, or the reason why there are none.
    """
    teachers: dict[Path, tuple[float, int]] = {}
    for run in runs:
        size = int(run.config.get("views", {}).get("size", 0))
        for teacher in run.teachers:
            folder = _find_folder(run, teacher)
            if folder is not None:
                teachers[folder] = teacher.test_accuracy, size
    if not teachers:
        return "no run had a teacher, or its folder is not there any more"
    folder = max(teachers, key=lambda folder: teachers[folder][0])
    accuracy, size = teachers[folder]
    try:
        return TeacherPredictions(folder, accuracy, _predict(folder, data, ids, size))
    except DataPruningError as error:
        return f"the teacher cannot be asked: {first_line(error)}"


def _find_folder(run: RunRecord, teacher: TeacherRecord) -> Path | None:
    """A teacher's run: where it was, or in the student's own workspace, should that have moved."""
    recorded = Path(teacher.folder)
    folders = [recorded, *(workspace / "teachers" / recorded.name for workspace in run.workspaces)]
    return next((folder for folder in folders if (folder / RESULT).exists()), None)


def _predict(folder: Path, data: Dataset, ids: NDArray[np.int64], size: int) -> dict[int, tuple[int, float]]:
    import torch

    from datapruning.config.augmentation import AugmentPolicy
    from datapruning.data.augment.augmentation import Augmentation
    from datapruning.io.tensors import load_tensors
    from datapruning.models import create_model
    from datapruning.models.normalization import with_training_normalization
    from datapruning.training.checkpoint import load_weights

    result = RunResult.read(folder / RESULT)
    policy = AugmentPolicy(size=size)
    model = create_model(result.model, policy.output_shape(data.train.shape), data.classes, seed=0)
    load_weights(model, load_tensors(folder / MODEL)[0], folder / MODEL)
    model = with_training_normalization(model, result.trained_with, data.channel_stats).eval()
    views = Augmentation(policy, *data.channel_stats)
    predictions: dict[int, tuple[int, float]] = {}
    with torch.inference_mode():
        for batch in (ids[start : start + BATCH_SIZE] for start in range(0, len(ids), BATCH_SIZE)):
            probabilities = model(views.normalise(torch.from_numpy(data.train.images[batch]))).float().softmax(1)
            highest, classes = probabilities.max(1)
            predictions |= {int(i): (int(c), float(p)) for i, c, p in zip(batch, classes, highest, strict=True)}
    return predictions
