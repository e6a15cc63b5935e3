"""Teachers that were trained elsewhere: a file of weights becomes a run folder in the workspace."""

from pathlib import Path

import numpy as np

from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.locks import exclusive_lock
from datapruning.models import create_model
from datapruning.models.features import last_linear
from datapruning.models.normalization import with_training_normalization
from datapruning.models.weights import hash_weights
from datapruning.runs.context import Context
from datapruning.runs.model_file import save_model
from datapruning.runs.result import ImportedTeacherResult, InputStatistics
from datapruning.runs.run import MODEL, RESULT
from datapruning.runs.weight_names import fit_names
from datapruning.runs.weights_file import (
    CheckpointMetadata,
    metadata_path,
    read_checkpoint_metadata,
    read_described_weights,
)
from datapruning.training.checkpoint import load_weights
from datapruning.training.evaluate import accuracy
from datapruning.training.reproducibility import reproducible
from datapruning.utils.console import info
from datapruning.utils.processes import agree
from datapruning.utils.records import parse_record
from datapruning.version import __version__


def import_teacher(context: Context, path: Path) -> Path:
    """Make the run folder of a teacher from a file of weights, unless it exists. Its network is `teacher.model`.

    The file is safetensors, or torch's and holds tensors alone (it is read with `weights_only`); names may have what
    wrappers add (see `fit_names`).

    Raises:
        InvalidFile: missing, broken, not weights alone, or weights that do not fit the network (the first ones are named).
        IncompatibleInputs: its class names are not the dataset's.
    """
    data, name = context.data, context.recipe.teacher.model
    (weights, described), metadata = read_described_weights(path), read_checkpoint_metadata(path)
    if described is not None and metadata == CheckpointMetadata():  # a run's own file says what it takes and gives
        pixels = {"mean": [value / 255 for value in described.mean], "std": [value / 255 for value in described.std]}
        metadata = parse_record(CheckpointMetadata, {"classes": [*described.class_names], **pixels}, str(path))
    order = class_order(metadata, data, path)
    outputs = len(metadata.classes) or data.classes
    model = create_model(name, context.shape, outputs, seed=0)
    try:
        load_weights(model, fit_names(weights, model.state_dict(), path), path)
    except InvalidFile as error:
        raise InvalidFile(f"{error}; teacher.model is {name}: set it to the network of these weights") from None
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
    folder = context.find_artifact(context.artifact_path("teachers", f"{name}-from-file", identity), RESULT)
    if agree((folder / RESULT).exists()):
        return folder
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


def class_order(metadata: CheckpointMetadata, data: Dataset, path: Path) -> list[int]:
    """Which output of the checkpoint in `path` each class of the dataset is, in the dataset's order.

    Raises:
        IncompatibleInputs: a class that the checkpoint does not have; another number of channels.
        InvalidFile: a class named twice.
    """
    path, channels, classes = metadata_path(path), data.train.shape[2], metadata.classes
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
