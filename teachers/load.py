"""Loading a teacher from a run folder, checked against the dataset of its students."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from datapruning.artifacts.metadata import dataset_mismatch_hint
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.tensors import load_tensors
from datapruning.models import create_model
from datapruning.models.normalization import with_training_normalization
from datapruning.models.weights import hash_weights, validate_weights
from datapruning.runs.recorded_dataset import recorded_spec
from datapruning.runs.result import RunResult, TeacherRecord, TeacherResult, TrainedResult
from datapruning.runs.run import MODEL, Run
from datapruning.teachers.paths import finished_run
from datapruning.training.checkpoint import load_weights


@dataclass(frozen=True)
class Teacher:
    """A network in evaluation mode, the folder of its soft labels, and the hash of its weights."""

    model: nn.Module
    folder: Path
    weights_hash: str


@dataclass(frozen=True)
class LoadedTeacher(Teacher):
    """A teacher with the result of its run, and after which `epoch`, from 1, it had these weights; None: the last."""

    result: RunResult
    epoch: int | None = None

    @property
    def age(self) -> float:
        """The share of its training after which it had these weights; 1: all of it."""
        epochs = self.result.epochs if isinstance(self.result, TrainedResult) else None
        return 1.0 if self.epoch is None or not epochs else self.epoch / epochs

    @property
    def record(self) -> TeacherRecord:
        """The teacher's record in a student's result."""
        return TeacherRecord(
            folder=str(self.folder),
            model=self.result.model,
            test_accuracy=self.result.test_accuracy if self.epoch is None else None,
            weights=self.weights_hash,
            epoch=self.epoch,
        )


def load_teacher(
    folder: str | Path,
    data: Dataset,
    device: torch.device,
    shape: tuple[int, int, int] | None = None,
    epoch: int | None = None,
) -> LoadedTeacher:
    """Load a finished run as a teacher for `data`.

    Args:
        folder: the run folder.
        data: dataset of its students.
        device: where its network runs.
        shape: (height, width, channels) of its views; None: that of the images.
        epoch: after which it kept the weights that are loaded, counted from 1; None: the finished network.

    Raises:
        InvalidFile: no finished run, or its weights are broken or gone.
        IncompatibleInputs: it was trained on another dataset.
        InvalidValue: it kept no weights of that epoch.
    """
    run, result = finished_run(Path(folder))
    folder = run.folder
    if result.classes != data.classes:
        raise IncompatibleInputs(f"teacher {folder} knows {result.classes} classes, {data.name} has {data.classes}")
    if result.fingerprint != data.fingerprint:
        why = dataset_mismatch_hint(result.dataset, recorded_spec(folder), data)
        raise IncompatibleInputs(
            f"teacher {folder} was trained on another dataset ({result.dataset}), not on {data.name}{why}"
        )
    trained_with, channels = result.trained_with, data.train.shape[2]
    if trained_with is not None and {len(numbers) for numbers in trained_with} != {channels}:
        raise InvalidFile(f"{folder}/result.json: 'input' is no mean and std of {channels} channels")
    path = folder / MODEL if epoch is None else _early_path(run, result, epoch)
    weights = validate_weights(load_tensors(path)[0], path)
    model = create_model(result.model, shape or data.train.shape, data.classes, seed=0)
    load_weights(model, weights, path)
    weights_hash = hash_weights(weights)
    if epoch is not None and weights_hash != early_weights(result)[epoch]:
        raise InvalidFile(f"{path} holds other weights than result.json says; delete {folder} to train it again")
    if trained_with is not None:
        weights_hash = hashlib.sha256(f"{weights_hash}{json.dumps(trained_with)}".encode()).hexdigest()
    network = with_training_normalization(model, trained_with, data.channel_stats).to(device).eval()
    return LoadedTeacher(network, folder, weights_hash, result, epoch)


def load_early_teachers(
    teacher: LoadedTeacher, data: Dataset, device: torch.device, shape: tuple[int, int, int] | None = None
) -> list[LoadedTeacher]:
    """The early checkpoints that a teacher kept, in the order of their epochs; see `load_teacher`.

    There are none of teachers that were trained elsewhere, of students, and of what is an early checkpoint itself.
    """
    if teacher.epoch is not None:
        return []
    return [load_teacher(teacher.folder, data, device, shape, epoch) for epoch in early_weights(teacher.result)]


def early_weights(result: RunResult) -> dict[int, str]:
    """The hash of the weights that a run kept, by the epoch after which it kept them, rising."""
    return {checkpoint.epoch: checkpoint.weights for checkpoint in result.early} if isinstance(result, TeacherResult) else {}


def _early_path(run: Run, result: RunResult, epoch: int) -> Path:
    """Path of the weights that a teacher kept after an epoch.

    Raises:
        InvalidValue: it kept none of that epoch. InvalidFile: they are gone.
    """
    kept = early_weights(result)
    if epoch not in kept:
        epochs = f"only those of epochs {', '.join(map(str, kept))}" if kept else "none but those of its last epoch"
        raise InvalidValue(f"teacher {run.folder} kept no weights of epoch {epoch}, {epochs}", parameter="teacher")
    path = run.early_checkpoint_path(epoch)
    if not path.exists():
        raise InvalidFile(f"{path} is gone, the teacher's weights of epoch {epoch}; delete {run.folder} to train it again")
    return path
