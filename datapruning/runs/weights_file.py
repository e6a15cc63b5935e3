"""Files of weights that were trained elsewhere: safetensors, or a .pth with tensors alone, and the JSON file beside one."""

import warnings
import zipfile
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from datapruning.errors import InvalidFile, first_line
from datapruning.io.json import MAX_JSON_BYTES, parse_json
from datapruning.io.npy import CHUNK_BYTES, check_memory, open_checked_zip
from datapruning.io.regular_file import open_regular_file
from datapruning.io.tensors import load_tensors
from datapruning.io.text import read_text
from datapruning.models.weights import validate_weights
from datapruning.runs.model_file import ModelDescription, parse_description
from datapruning.utils.records import Record, parse_record

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


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by name, on the CPU.

    Raises:
        InvalidFile: missing, broken, or not weights alone.
    """
    return read_described_weights(path)[0]


def read_described_weights(path: Path) -> tuple[dict[str, Tensor], ModelDescription | None]:
    """The weights in a file, by name, on the CPU, and the description of the network, which a run's model.safetensors has.

    Raises:
        InvalidFile: missing, broken, or not weights alone.
    """
    if path.suffix == ".safetensors":
        weights, metadata = load_tensors(path, external=True)
        return _strip_wrappers(validate_weights(weights, path)), parse_description(metadata, path)
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
    return _strip_wrappers(validate_weights({str(key): value for key, value in content.items()}, path)), None


def _check_archive(path: Path) -> None:
    """Check the sizes and checksums of a zip archive, which torch does not; older files are no archives.

    Raises:
        ValueError, and others of `READ_ERRORS`: a bomb, or a member that was changed.
    """
    if not zipfile.is_zipfile(path):
        return
    with open_regular_file(path) as (file, size), open_checked_zip(file, size) as archive:
        check_memory(sum(info.file_size for info in archive.infolist()))
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
