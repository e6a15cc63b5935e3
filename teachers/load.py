"""Loading a teacher from a run folder, checked against the dataset of its students."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from datapruning.artifacts.metadata import dataset_mismatch_hint
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.io.tensors import load_tensors
from datapruning.models import create_model
from datapruning.models.normalization import with_training_normalization
from datapruning.runs.result import RunResult, TeacherRecord
from datapruning.runs.run import MODEL, Run
from datapruning.training.checkpoint import load_weights


@dataclass(frozen=True)
class Teacher:
    """A network in evaluation mode, the folder of its soft labels, and the hash of its weights."""

    model: nn.Module
    folder: Path
    weights_hash: str


@dataclass(frozen=True)
class LoadedTeacher(Teacher):
    """A teacher with the result of its run."""

    result: RunResult

    @property
    def record(self) -> TeacherRecord:
        """The teacher's record in a student's result."""
        return TeacherRecord(
            folder=str(self.folder),
            model=self.result.model,
            test_accuracy=self.result.test_accuracy,
            weights=self.weights_hash,
        )


def load_teacher(
    folder: str | Path, data: Dataset, device: torch.device, shape: tuple[int, int, int] | None = None
) -> LoadedTeacher:
    """Load a finished run as a teacher for `data`; `shape`: of its views, if not that of the images.

    Raises:
        InvalidFile: no finished run, or its weights are broken.
        IncompatibleInputs: it was trained on another dataset.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InvalidFile(f"teacher {folder} is neither a run folder nor a file of weights (.safetensors, .pth, .pt)")
    if not folder.is_dir():
        raise InvalidFile(f"teacher {folder} is not there; 'dprune teach' makes one")
    run = Run(folder)
    result = run.result(RunResult)
    if result is None:
        raise InvalidFile(f"{folder} is no finished run: it has no result.json")
    if result.classes != data.classes:
        raise IncompatibleInputs(f"teacher {folder} knows {result.classes} classes, {data.name} has {data.classes}")
    if result.fingerprint != data.fingerprint:
        why = dataset_mismatch_hint(result.dataset, data)
        raise IncompatibleInputs(
            f"teacher {folder} was trained on another dataset ({result.dataset}), not on {data.name}{why}"
        )
    trained_with, channels = result.trained_with, data.train.shape[2]
    if trained_with is not None and {len(numbers) for numbers in trained_with} != {channels}:
        raise InvalidFile(f"{folder}/result.json: 'input' is no mean and std of {channels} channels")
    weights = validate_weights(load_tensors(folder / MODEL)[0], folder / MODEL)
    model = create_model(result.model, shape or data.train.shape, data.classes, seed=0)
    load_weights(model, weights, folder / MODEL)
    weights_hash = hash_weights(weights)
    if trained_with is not None:
        weights_hash = hashlib.sha256(f"{weights_hash}{json.dumps(trained_with)}".encode()).hexdigest()
    network = with_training_normalization(model, trained_with, data.channel_stats).to(device).eval()
    return LoadedTeacher(network, folder, weights_hash, result)


def validate_weights(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights, if they are plain tensors of finite numbers, and no expanded views of fewer numbers.

    Raises:
        InvalidFile: naming the first weight that is not.
    """
    for name, value in weights.items():
        plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.numel() * value.element_size() > max(value.untyped_storage().nbytes(), 1):
            raise InvalidFile(f"{path}: weight '{name}' is no plain tensor; save model.state_dict() of a network on the CPU")
        if (value.is_floating_point() or value.is_complex()) and not bool(value.isfinite().all()):
            raise InvalidFile(f"{path}: weight '{name}' has numbers that are NaN or infinite")
    return weights


def hash_weights(weights: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of names, types, shapes and bytes, in the order of the names."""
    state = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].contiguous().cpu()
        state.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        state.update(value.view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
