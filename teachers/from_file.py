"""Teachers that were trained elsewhere: a file of weights becomes a run folder in the workspace."""

import warnings
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, first_line
from datapruning.io.json import MAX_JSON_BYTES, parse_json
from datapruning.io.locks import exclusive_lock
from datapruning.io.npy import CHUNK_BYTES, open_checked_zip
from datapruning.io.regular_file import open_regular_file
from datapruning.io.tensors import load_tensors
from datapruning.io.text import read_text
from datapruning.models import create_model
from datapruning.models.features import last_linear
from datapruning.models.normalization import with_training_normalization
from datapruning.runs.context import Context
from datapruning.runs.model_file import save_model
from datapruning.runs.result import ImportedTeacherResult, InputStatistics
from datapruning.runs.run import MODEL, RESULT
from datapruning.teachers.load import hash_weights, validate_weights
from datapruning.training.checkpoint import load_weights
from datapruning.training.evaluate import accuracy
from datapruning.training.reproducibility import reproducible
from datapruning.utils.console import info
from datapruning.utils.records import Record, parse_record
from datapruning.version import __version__

SUFFIXES = (".safetensors", ".pth", ".pt")
NESTED_KEYS = ("state_dict", "model_state_dict", "model", "net")
"""Keys of the weights in checkpoints that hold other things too."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile add to every name."""


class CheckpointMetadata(Record):
    """The content of the optional `NAME.json` in the folder of a file of weights.

    Attributes:
        classes: names of the outputs, in order; empty: the dataset's classes, in its order.
        mean: mean of each channel, 0..1, of the images that the network was trained with; empty: the dataset's own.
        std: standard deviation of each channel, likewise.
    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Field(gt=0)], ...] = ()


def is_weights_file(path: Path) -> bool:
    """Whether a path is a file of weights, not a run folder."""
    return path.suffix in SUFFIXES and not path.is_dir()


def import_teacher(context: Context, path: Path) -> Path:
    """Make the run folder of a teacher from a file of weights, unless it exists. Its network is `teacher.model`.

    The file is safetensors, or a .pth that holds tensors alone (it is read with `weights_only`).

    Raises:
        InvalidFile: missing, broken, not weights alone, or weights that do not fit the network (the first ones are named).
        IncompatibleInputs: its class names are not the dataset's.
    """
    data, name = context.data, context.recipe.teacher.model
    weights, metadata = read_weights(path), read_checkpoint_metadata(path)
    order = class_order(metadata, data, path)
    outputs = len(metadata.classes) or data.classes
    model = create_model(name, context.shape, outputs, seed=0)
    load_weights(model, weights, path)
    if order != list(range(outputs)):
        head = last_linear(model)
        if head.out_features != outputs:
            raise InvalidValue(f"the last linear layer of '{name}' makes no logits: a class map cannot reorder it")
        last = next(full for full, module in model.named_modules() if module is head)
        state = model.state_dict()
        weights = {key: value[order] if key.rpartition(".")[0] == last else value for key, value in state.items()}
        model = create_model(name, context.shape, data.classes, seed=0)
        load_weights(model, weights, path)
    weights = dict(model.state_dict())
    trained_with = InputStatistics(mean=metadata.mean, std=metadata.std) if metadata.mean else None
    identity = {"weights": hash_weights(weights), "input": trained_with.to_json() if trained_with else {}}
    folder = context.artifact_path("teachers", f"{name}-from-file", identity)
    with exclusive_lock(folder / "run", f"another process opens {path}"):
        if not (folder / RESULT).exists():
            stats = (trained_with.mean, trained_with.std) if trained_with else None
            ready = with_training_normalization(model.to(context.device), stats, data.channel_stats)
            with reproducible(context.threads, context.recipe.train):
                test_accuracy = accuracy(ready, context.loader("test"), np.arange(len(data.test)), context.views)
            save_model(folder / MODEL, weights, context.describe_model(name, stats))
            result = ImportedTeacherResult(
                test_accuracy=test_accuracy, model=name, classes=data.classes, dataset=data.name, samples_seen=0,
                fingerprint=data.fingerprint, package_version=__version__, source=str(path), input=trained_with,
            )  # fmt: skip
            result.write(folder / RESULT)
            info(f"teacher: {path}, {test_accuracy:.2f}% on the test set, in {folder}")
    return folder


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by name, on the CPU.

    Raises:
        InvalidFile: missing, broken, or not weights alone.
    """
    if path.suffix == ".safetensors":
        return _strip_wrappers(validate_weights(load_tensors(path, external=True)[0], path))
    if not path.is_file():
        raise InvalidFile(f"{path} is not there")
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about TorchScript archives, which are refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is no checkpoint makes pickle and zipfile raise
        raise InvalidFile(
            f"{path} is not weights alone and is not opened ({first_line(error)[:80]}): save model.state_dict(), "
            "best as safetensors"
        ) from None
    for key in NESTED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise InvalidFile(f"{path} holds no weights by name: save model.state_dict(), best as safetensors")
    return _strip_wrappers(validate_weights({str(key): value for key, value in content.items()}, path))


def _check_archive(path: Path) -> None:
    """Check the sizes and checksums of a zip archive, which torch does not; older files are no archives.

    Raises:
        ValueError, and others of `READ_ERRORS`: a bomb, or a member that was changed.
    """
    if not zipfile.is_zipfile(path):
        return
    with open_regular_file(path) as (file, size), open_checked_zip(file, size) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                while member.read(CHUNK_BYTES):
                    pass


def _strip_wrappers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if weights and all(name.startswith(wrapper) for name in weights):
            weights = {name.removeprefix(wrapper): value for name, value in weights.items()}
    return weights


def read_checkpoint_metadata(path: Path) -> CheckpointMetadata:
    """Read the `NAME.json` of a file of weights: a list of class names, or an object (see `CheckpointMetadata`).

    Raises:
        InvalidFile: it is something else.
    """
    path = path.with_suffix(".json")
    if not path.exists():
        return CheckpointMetadata()
    try:
        content = parse_json(read_text(path, MAX_JSON_BYTES))
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read: {first_line(error)}") from None
    if not isinstance(content, list | dict):
        raise InvalidFile(
            f'{path} is a list of class names, or {{"classes": [...], "mean": [...], "std": [...]}} (mean and std in 0..1)'
        )
    return parse_record(CheckpointMetadata, {"classes": content} if isinstance(content, list) else content, str(path))


def class_order(metadata: CheckpointMetadata, data: Dataset, path: Path) -> list[int]:
    """Which output of the checkpoint in `path` each class of the dataset is, in the dataset's order.

    Raises:
        IncompatibleInputs: a class that the checkpoint does not have; another number of channels.
        InvalidFile: a class named twice.
    """
    path, channels, classes = path.with_suffix(".json"), data.train.shape[2], metadata.classes
    if (metadata.mean or metadata.std) and {len(metadata.mean), len(metadata.std)} != {channels}:
        raise IncompatibleInputs(f"{path}: mean and std have a number for each of the {channels} channels, both of them")
    if not classes:
        return list(range(data.classes))
    duplicate = next((name for name in classes if classes.count(name) > 1), None)
    if duplicate is not None:
        raise InvalidFile(f"{path}: class '{duplicate}' is named twice")
    missing = [name for name in data.class_names if name not in classes]
    if missing:
        raise IncompatibleInputs(
            f"{path} does not name class '{missing[0]}' of {data.name} ({len(missing)} of {data.classes} are missing)"
        )
    return [classes.index(name) for name in data.class_names]
