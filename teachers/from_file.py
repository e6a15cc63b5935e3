"""Teachers that were trained elsewhere: a file of weights becomes a run folder in the workspace that teaches as any."""

from __future__ import annotations

import math
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, first_line
from datapruning.io.json import MAX_JSON_BYTES, parse_json
from datapruning.io.locks import exclusive_lock
from datapruning.io.npy import CHUNK_BYTES, open_checked_zip
from datapruning.io.regular_file import open_regular_file
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.io.text import read_text
from datapruning.models import create_model
from datapruning.models.features import last_linear
from datapruning.models.normalization import with_training_normalization
from datapruning.runs.context import Context
from datapruning.runs.result import ImportedTeacherResult, InputStatistics
from datapruning.runs.run import MODEL, RESULT
from datapruning.teachers.load import hash_weights, validate_weights
from datapruning.training.checkpoint import load_weights
from datapruning.training.evaluate import accuracy
from datapruning.training.reproducibility import reproducible
from datapruning.utils.console import info
from datapruning.version import __version__

SUFFIXES = (".safetensors", ".pth", ".pt")
NESTED_KEYS = ("state_dict", "model_state_dict", "model", "net")
"""Where training scripts put the weights beside other things."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


@dataclass(frozen=True)
class CheckpointMetadata:
    """What `NAME.json` beside the weights says of them.

    Attributes:
        classes: names of the outputs, in order; empty: those of the dataset, in its order.
        mean: of the channels that the network was trained with, 0..1; empty: the dataset's own.
        std: likewise.
    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def is_weights_file(path: Path) -> bool:
    """Whether a teacher is named by a file of weights, not by a run folder."""
    return path.suffix in SUFFIXES and not path.is_dir()


def import_teacher(context: Context, path: Path) -> Path:
    """The run folder of the teacher in a file of weights; made where it is not there. The network is `teacher.model`.

    Args:
        context: the dataset it is to teach, and the recipe that names its network.
        path: safetensors, or a .pth that holds tensors alone (it is read with `weights_only`).

    Raises:
        InvalidFile: not there, broken, not weights alone, or weights that do not fit the network (the first ones are named).
        IncompatibleInputs: the class names beside it are not the dataset's.
    """
    data, name = context.data, context.recipe.teacher.model
    weights, said = read_weights(path), read_checkpoint_metadata(path)
    order = class_order(said, data, path)
    outputs = len(said.classes) or data.classes
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
    trained_with = InputStatistics(mean=said.mean, std=said.std) if said.mean else None
    identity = {"weights": hash_weights(weights), "input": trained_with.to_json() if trained_with else {}}
    folder = context.artifact_path("teachers", f"{name}-from-file", identity)
    with exclusive_lock(folder / "run", f"another process opens {path}"):
        if not (folder / RESULT).exists():
            stats = (trained_with.mean, trained_with.std) if trained_with else None
            ready = with_training_normalization(model.to(context.device), stats, data.channel_stats)
            with reproducible(context.threads):
                reached = accuracy(ready, context.loader("test"), np.arange(len(data.test)), context.views)
            save_tensors(folder / MODEL, weights)
            result = ImportedTeacherResult(
                test_accuracy=reached, model=name, classes=data.classes, dataset=data.name, fingerprint=data.fingerprint,
                samples_seen=0, package_version=__version__, source=str(path), input=trained_with,
            )  # fmt: skip
            result.write(folder / RESULT)
            info(f"teacher: {path}, {reached:.2f}% on the test set, in {folder}")
    return folder


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by name, on the CPU.

    Raises:
        InvalidFile: missing, broken, or not weights alone.
    """
    if path.suffix == ".safetensors":
        return _strip_wrappers(validate_weights(load_tensors(path)[0], path))
    if not path.is_file():
        raise InvalidFile(f"{path} is not there")
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript archives, which are refused
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is no checkpoint makes pickle and zipfile raise
        raise InvalidFile(
            f"{path} is not weights alone and is not opened ({first_line(error)[:80]}): save model.state_dict(), "
            "best as safetensors"
        ) from None
    for key in NESTED_KEYS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InvalidFile(f"{path} holds no weights by name: save model.state_dict(), best as safetensors")
    return _strip_wrappers(validate_weights({str(key): value for key, value in found.items()}, path))


def _check_archive(path: Path) -> None:
    """Look at the sizes and checksums of a zip archive, which torch does not; older files are none.

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
    """What `NAME.json` beside the weights says: a list of class names, or an object with "classes", "mean" and "std".

    Raises:
        InvalidFile: it is something else.
    """
    beside = path.with_suffix(".json")
    if not beside.exists():
        return CheckpointMetadata()
    try:
        found = parse_json(read_text(beside, MAX_JSON_BYTES))
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{beside} cannot be read: {first_line(error)}") from None
    if isinstance(found, list):
        found = {"classes": found}
    wanted = 'a list of class names, or {"classes": [...], "mean": [...], "std": [...]} (mean and std in 0..1)'
    if not isinstance(found, dict) or set(found) - {"classes", "mean", "std"}:
        raise InvalidFile(f"{beside} is {wanted}")
    names, mean, std = (found.get(key, []) for key in ("classes", "mean", "std"))
    if not all(isinstance(each, list) for each in (names, mean, std)) or not all(isinstance(n, str) for n in names):
        raise InvalidFile(f"{beside} is {wanted}")
    if not all(type(n) in (int, float) and math.isfinite(n) for n in (*mean, *std)) or not all(n > 0 for n in std):
        raise InvalidFile(f"{beside}: mean and std are numbers, a channel each, std above 0")
    return CheckpointMetadata(tuple(names), tuple(float(n) for n in mean), tuple(float(n) for n in std))


def class_order(said: CheckpointMetadata, data: Dataset, path: Path) -> list[int]:
    """Which output of the checkpoint each class of the dataset is, in the dataset's order.

    Raises:
        IncompatibleInputs: a class that the checkpoint does not know; other numbers of channels.
        InvalidFile: a class named twice.
    """
    beside, channels = path.with_suffix(".json"), data.train.shape[2]
    if (said.mean or said.std) and {len(said.mean), len(said.std)} != {channels}:
        raise IncompatibleInputs(f"{beside}: mean and std have a number for each of the {channels} channels, both of them")
    if not said.classes:
        return list(range(data.classes))
    if len(set(said.classes)) != len(said.classes):
        twice = next(name for name in said.classes if said.classes.count(name) > 1)
        raise InvalidFile(f"{beside}: class '{twice}' is named twice")
    absent = [name for name in data.class_names if name not in said.classes]
    if absent:
        raise IncompatibleInputs(
            f"{beside} does not name class '{absent[0]}' of {data.name} ({len(absent)} of {data.classes} are missing)"
        )
    return [said.classes.index(name) for name in data.class_names]
