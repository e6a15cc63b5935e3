"""A file of a network's weights that stands alone: with its name, its classes, and what its images look like."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from datapruning.errors import InvalidFile
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.utils.records import Record, parse_record

DESCRIPTION = "description"
"""The key of the description in the metadata of the file, as JSON."""
Side = Annotated[int, Field(ge=1)]
PixelStatistic = Annotated[float, Field(ge=-255e6, le=255e6)]


class ModelDescription(Record):
    """What a network is, and what it takes.

    `model` is its name, as `create_model` takes it; `class_names` are in the order of its outputs. Images are uint8
    [`image_shape`: height, width, channels]; of them the network sees the middle, of `size` pixels each way (0: all of
    it). They are normalised with `mean` and `std` of the channels, 0..255.
    """

    format: Literal["datapruning.model"] = "datapruning.model"
    version: Literal[1] = 1
    model: str
    class_names: tuple[str, ...]
    image_shape: tuple[Side, Side, Annotated[int, Field(ge=1, le=4)]]
    size: Annotated[int, Field(ge=0)] = 0
    mean: tuple[PixelStatistic, ...]
    std: tuple[Annotated[float, Field(gt=0, le=255e6)], ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what the network sees."""
        height, width, channels = self.image_shape
        return (self.size, self.size, channels) if self.size else (height, width, channels)


def save_model(path: Path, weights: dict[str, Tensor], description: ModelDescription) -> None:
    """Write weights by name, with the description, as a safetensors file, whole or not at all."""
    save_tensors(path, weights, {DESCRIPTION: json.dumps(description.to_json())})


def read_model(path: Path) -> tuple[dict[str, Tensor], ModelDescription]:
    """The weights by name, on the CPU, and the description.

    Raises:
        InvalidFile: missing, broken, or weights without a description.
    """
    weights, metadata = load_tensors(path)
    description = parse_description(metadata, path)
    if description is None:
        raise InvalidFile(f"{path} has weights, but no description of the network: only a run's model.safetensors has one")
    return weights, description


def parse_description(metadata: Mapping[str, str], path: Path) -> ModelDescription | None:
    """The description in the metadata of a file of weights; None: it has none.

    Raises:
        InvalidFile: it is broken.
    """
    if DESCRIPTION not in metadata:
        return None
    try:
        content = json.loads(metadata[DESCRIPTION])
    except ValueError:
        raise InvalidFile(f"{path}: the description of the network is no JSON") from None
    description = parse_record(ModelDescription, content, f"{path}: description")
    if not len(description.mean) == len(description.std) == description.image_shape[2]:
        raise InvalidFile(f"{path}: mean and std have a number for each of {description.image_shape[2]} channels")
    return description
