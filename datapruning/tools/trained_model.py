"""A trained network for use: from a run folder or its model.safetensors, with what comes before and after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.dataset import Dataset
from datapruning.data.image_folder.decode import decode, resize_array
from datapruning.data.image_folder.image_files import read_image_bytes
from datapruning.data.image_folder.pixel_modes import CorruptImage
from datapruning.data.loaders.factory import resolve_device
from datapruning.data.registry import open_dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, first_line
from datapruning.models import create_model
from datapruning.runs.model_file import ModelDescription, read_model
from datapruning.runs.run import Run, model_path
from datapruning.training.checkpoint import load_weights

BATCH_SIZE = 256
Images = NDArray[np.uint8] | Tensor | str | Path | Sequence[str | Path]
"""uint8 [n, height, width, channels] or one image [height, width, channels], or paths of image files."""


class Prediction(NamedTuple):
    """Of n images: `labels` int64 [n], the most probable classes by number, and `probabilities` float32 [n, classes]."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


class TrainedModel(nn.Module):
    """A trained network in evaluation mode; `description` says what it takes.

    As a module it takes normalised images, float32 [n, channels, height, width], and returns logits float32 [n, classes],
    as in training.
    """

    def __init__(self, network: nn.Module, description: ModelDescription) -> None:
        super().__init__()
        self.network, self.description = network, description
        self._views = Augmentation(AugmentPolicy(size=description.size), description.mean, description.std)
        self.eval()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.description.class_names

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images float32 [n, channels, height, width] -> logits float32 [n, classes]."""
        logits: Tensor = self.network(images)
        return logits

    def preprocess(self, images: Images) -> Tensor:
        """Images as `forward` takes them, on the network's device.

        Files are decoded as they were for the training: the shorter side becomes the side of the images, and the centre is
        cropped. Arrays of another size are scaled likewise; grey images and colour ones are converted into each other.

        Raises:
            InvalidFile: a file that is no image. InvalidValue: an array of another type or shape.
        """
        return self._views.normalise(torch.from_numpy(self._load(images)).to(self.device))

    @torch.inference_mode()
    def predict(self, images: Images, batch_size: int = BATCH_SIZE) -> Prediction:
        """The class of each image, and the probabilities of all classes.

        Raises:
            InvalidFile, InvalidValue: see `preprocess`.
        """
        if isinstance(images, str | Path):
            images = [images]
        if isinstance(images, np.ndarray | Tensor) and images.ndim == 3:
            images = images[None]
        logits = [self(self.preprocess(images[k : k + batch_size])).float() for k in range(0, len(images), batch_size)]
        if not logits:
            return Prediction(np.empty(0, np.int64), np.empty((0, len(self.class_names)), np.float32))
        probabilities = torch.softmax(torch.cat(logits), 1)
        return Prediction(probabilities.argmax(1).cpu().numpy(), probabilities.cpu().numpy())

    def _load(self, images: Images) -> NDArray[np.uint8]:
        """uint8 [n, *image_shape]."""
        if isinstance(images, Tensor):
            images = images.cpu().numpy()
        if isinstance(images, np.ndarray):
            array = images[None] if images.ndim == 3 else images
            if array.dtype != np.uint8 or array.ndim != 4 or 0 in array.shape[1:] or array.shape[3] not in (1, 3):
                raise InvalidValue(
                    f"images are uint8 [n, height, width, channels] with 1 or 3 channels, or paths; got {images.dtype} "
                    f"{list(images.shape)}"
                )
            return self._fit(array)
        return self._fit(np.stack([self._decode(Path(path)) for path in _as_paths(images)]))

    def _decode(self, path: Path) -> NDArray[np.uint8]:
        height, width, _ = self.description.image_shape
        if height != width:
            raise IncompatibleInputs(
                f"the network takes images of {height}x{width}, and files are decoded to squares: pass arrays"
            )
        try:
            return decode(read_image_bytes(path), height)
        except FileNotFoundError:
            raise InvalidFile(f"{path} is not there") from None
        except (CorruptImage, OSError, ValueError) as error:
            raise InvalidFile(f"{path} cannot be read as an image: {first_line(error)}") from None

    def _fit(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The images in the network's size and number of channels."""
        height, width, channels = self.description.image_shape
        if images.shape[1:3] != (height, width) and height != width:
            raise IncompatibleInputs(
                f"images of {images.shape[1]}x{images.shape[2]}, and the network takes {height}x{width}"
            )
        if images.shape[1:] == (height, width, channels):
            return np.array(images)  # torch takes no read-only arrays
        return np.stack([resize_array(image, height, channels) for image in images])


def _as_paths(images: str | Path | Iterable[str | Path]) -> list[str | Path]:
    return [images] if isinstance(images, str | Path) else list(images)


def training_dataset(source: Path) -> Dataset:
    """The dataset that a run was trained on, from where it was then.

    Raises:
        InvalidFile, UnknownName: it is not there any more, or `source` is no run.
    """
    return open_dataset(Run(source if source.is_dir() else source.parent).environment.data)


def load_model(source: str | Path, device: str = "auto") -> TrainedModel:
    """The trained network of a finished run, or of a `model.safetensors`, for use.

    Args:
        source: a run folder, or a file of weights that this package wrote.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        InvalidFile: no finished run, broken, or weights without a description. InvalidValue: no such device.
        UnknownName, MissingPackage: a network that is not known here.
    """
    path = model_path(Path(source))
    torch_device = resolve_device(device)
    weights, description = read_model(path)
    network = create_model(description.model, description.shape, len(description.class_names), seed=0)
    load_weights(network, weights, path)
    return TrainedModel(network.to(torch_device), description)
