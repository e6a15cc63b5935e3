"""Files of weights that were trained elsewhere: safetensors, or torch's with tensors alone, and the JSON file beside one."""

import pickletools
import re
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from datapruning.errors import InvalidFile, first_line
from datapruning.io.foreign_files import foreign_kind_of
from datapruning.io.json import MAX_JSON_BYTES, parse_json
from datapruning.io.npy import verify_zip
from datapruning.io.regular_file import open_regular_file
from datapruning.io.tensors import load_tensors
from datapruning.io.text import read_text
from datapruning.models.weights import validate_weights
from datapruning.runs.model_file import ModelDescription, parse_description
from datapruning.runs.weights_path import SUFFIXES
from datapruning.utils.console import info
from datapruning.utils.records import Record, parse_record

EMA_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema")
"""Keys of averaged weights, which are taken first, as timm does."""
NESTED_KEYS = (
    *EMA_KEYS, "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params",
)  # fmt: skip
"""Keys of the weights in checkpoints that hold other things too."""
SAFETENSORS = re.compile(rb".{8}\{", re.DOTALL)
PICKLE = re.compile(rb"PK|\x80")
"""How files begin: of torch, zip archives or, before 1.6, pickles."""
REMEDY = "save model.state_dict(), best as safetensors"
UnitNumber = Annotated[float, Field(ge=0, le=1)]


class CheckpointMetadata(Record):
    """The content of the optional `NAME.json` in the folder of a file of weights.

    Attributes:
        classes: names of the outputs, in order; empty: the dataset's classes, in its order.
        mean: mean of each channel, 0..1, of the images that the network was trained with; empty: the dataset's own.
        std: standard deviation of each channel, likewise. Numbers of 0..255 are refused.
    """

    classes: tuple[str, ...] = ()
    mean: tuple[UnitNumber, ...] = ()
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()


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
    if path.suffix == ".safetensors" or _begins_like(path, SAFETENSORS):
        weights, metadata = load_tensors(path, external=True)
        return validate_weights(weights, path), parse_description(metadata, path)
    if not path.is_file():
        raise InvalidFile(f"{path} is not there")
    if path.suffix not in SUFFIXES and not _begins_like(path, PICKLE):
        raise InvalidFile(f"{path} is neither a run folder nor a file of weights ({', '.join(SUFFIXES)}, ...)")
    try:
        verify_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about TorchScript archives, which are refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is no checkpoint makes pickle and zipfile raise
        raise InvalidFile(
            f"{path} is not weights alone and is not opened ({_refused_entry(path, error)}): {REMEDY}"
        ) from None
    selected = _find_weights(content)
    if selected is None:
        raise InvalidFile(f"{path} holds no weights by name: {REMEDY}")
    weights, key = selected
    left_out = [name for name in EMA_KEYS if isinstance(content, dict) and content.get(name) and key not in EMA_KEYS]
    if left_out and key:
        info(f"{path}: '{key}' is taken; the averaged weights '{left_out[0]}' are in a form that is not read")
    if key in EMA_KEYS and any(isinstance(content.get(other), dict) for other in NESTED_KEYS if other not in EMA_KEYS):
        info(f"{path}: the averaged weights '{key}' (EMA) are taken; to take the others, save them alone")
    return validate_weights(weights, path), None


def _find_weights(content: Any) -> tuple[dict[str, Tensor], str] | None:
    """The weights by name, and the key that they had in what a checkpoint holds; None: there are none."""
    if not isinstance(content, dict) or not content:
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}, ""
    for key in NESTED_KEYS:
        nested = _find_weights(content.get(key))
        if nested is not None:
            return nested[0], key
    return None


def _begins_like(path: Path, pattern: re.Pattern[bytes]) -> bool:
    try:
        with open_regular_file(path) as (file, _):
            return pattern.match(file.read(16)) is not None
    except (OSError, ValueError):
        return False


def _refused_entry(path: Path, error: Exception) -> str:
    """What weights-only loading refuses, in words: the entry before the type that it does not know, else torch's reason."""
    unknown = re.search(r"GLOBAL (\S+)", str(error))
    if unknown is None:
        kind = foreign_kind_of(path)
        is_advice = "weights_only" in str(error)  # torch advises to open the file without its checks
        return f"it is {kind}" if kind else "no file of torch, or cut off" if is_advice else first_line(error)
    entry = ""
    with suppress(Exception):  # pickletools meets broken files
        with zipfile.ZipFile(path) as archive:
            stream = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL" and str(argument).replace(" ", ".") == unknown[1]:
                break
            if "UNICODE" in opcode.name:
                entry = f"its entry '{argument}' is "
    return f"{entry}a {unknown[1]}"


def metadata_path(path: Path) -> Path:
    """The `NAME.json` of a file of weights; that of `NAME.pth.tar` is `NAME.json`."""
    return (path.with_suffix("") if path.suffix == ".tar" else path).with_suffix(".json")


def read_checkpoint_metadata(path: Path) -> CheckpointMetadata:
    """Read the `NAME.json` of a file of weights: a list of class names, their numbers, or an object (`CheckpointMetadata`).

    Raises:
        InvalidFile: it is something else.
    """
    path = metadata_path(path)
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
    names = content if isinstance(content, list) else _numbered_names(content)
    return parse_record(CheckpointMetadata, content if names is None else {"classes": names}, str(path))


def _numbered_names(content: dict[str, Any]) -> list[Any] | None:
    """The names of the classes in order, of `class_to_idx` ({"cat": 0, ...}) or of its inverse ({"0": "cat", ...})."""
    if all(isinstance(value, str) for value in content.values()) and all(key.isdecimal() for key in content):
        pairs: list[tuple[Any, Any]] = [(int(key), name) for key, name in content.items()]
    elif all(type(value) is int for value in content.values()):
        pairs = [(number, name) for name, number in content.items()]
    else:
        return None
    pairs.sort(key=lambda pair: pair[0])
    return [name for _, name in pairs] if pairs and [number for number, _ in pairs] == list(range(len(pairs))) else None
