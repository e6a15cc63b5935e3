"""Views of any map-style torch dataset: augmented by the dataset itself, with the random seed of (view, id), or by us.

A replayed view is the dataset's item, read while the global random generators of torch, NumPy and Python have a seed that
depends on nothing but (seed, view, id). Reading it again, in any order and in any process, gives the same image.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.augment.augmentation import Augmentation
from datapruning.errors import IncompatibleInputs


class MapDataset(Protocol):
    """A map-style torch dataset: its items are images, tuples or lists with an image, or dictionaries with one."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """The item of a sample."""
        ...


class ViewDataset(Protocol):
    """Gives the items of a dataset with their images in a view."""

    def items(self, ids: Sequence[int], view: int) -> list[Any]:
        """The items of these samples, their images augmented as view number `view` has them."""
        ...

    def image(self, item: Any) -> Tensor:
        """The image of an item, float [channels, height, width].

        Raises:
            IncompatibleInputs: there is none.
        """
        ...


def replay_seed(seed: int, view: int, sample_id: int, total: int) -> int:
    """The random seed of a sample's view, in a dataset of `total` samples."""
    return (seed + view * total + sample_id) % 2**32


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Afterwards the global generators of torch (on the CPU), NumPy and Python are as they were before."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 (what transforms draw from)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch (on the CPU), NumPy and Python."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


class ReplayedDataset:
    """Views by the dataset's own augmentation.

    Args:
        dataset: any map-style dataset.
        image_key: where a tuple (a position) or a dictionary (a key) has its image.
        seed: of the views.
    """

    def __init__(self, dataset: MapDataset, image_key: int | str, seed: int) -> None:
        self.dataset, self.image_key, self.seed = dataset, image_key, seed

    def items(self, ids: Sequence[int], view: int) -> list[Any]:
        """The items of these samples, their images augmented as view number `view` has them."""
        items, total = [], len(self.dataset)
        with preserved_generators():
            for sample_id in ids:
                seed_generators(replay_seed(self.seed, view, sample_id, total))
                items.append(self.dataset[sample_id])
        return items

    def image(self, item: Any) -> Tensor:
        """The image of an item, a tensor.

        Raises:
            IncompatibleInputs: there is none.
        """
        image = _get_image(item, self.image_key)
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(image)
        if not isinstance(image, Tensor):
            raise IncompatibleInputs(
                f"the dataset's images are {type(image).__name__}, and the teacher takes tensors: add ToTensor() and the "
                "normalisation to the dataset's transform"
            )
        return image


class AugmentedDataset:
    """Views by our augmentation of a dataset of uint8 images [height, width, channels] (or PIL images) of one size."""

    def __init__(self, dataset: MapDataset, image_key: int | str, augmentation: Augmentation) -> None:
        self.dataset, self.image_key, self.augmentation = dataset, image_key, augmentation

    def items(self, ids: Sequence[int], view: int) -> list[Any]:
        """The items of these samples, their images augmented and normalised: float32 [channels, height, width].

        Raises:
            IncompatibleInputs: images of another type, or of several sizes.
        """
        items = [self.dataset[sample_id] for sample_id in ids]
        images = [_as_uint8(_get_image(item, self.image_key)) for item in items]
        shapes = {image.shape for image in images}
        if len(shapes) > 1:
            raise IncompatibleInputs(f"the dataset's images have several sizes, {_list_shapes(shapes)}; resize them to one")
        views = self.augmentation.apply(torch.from_numpy(np.stack(images)), np.asarray(ids), view)
        return [_with_image(item, self.image_key, image) for item, image in zip(items, views, strict=True)]

    def image(self, item: Any) -> Tensor:
        """The augmented image of an item."""
        image: Tensor = _get_image(item, self.image_key)
        return image


def stack_images(images: Sequence[Tensor]) -> Tensor:
    """A batch of images.

    Raises:
        IncompatibleInputs: they have several shapes.
    """
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise IncompatibleInputs(f"the dataset's images have several shapes, {_list_shapes(shapes)}: give all of them one")
    return torch.stack(list(images))


def _list_shapes(shapes: set[tuple[int, ...]]) -> str:
    return " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])


def _get_image(item: Any, key: int | str) -> Any:
    if isinstance(item, Mapping):
        if key not in item:
            names = ", ".join(map(repr, item))
            raise IncompatibleInputs(f"the dataset's items have no image at {key!r}, but {names}: set image_key")
        return item[key]
    if not isinstance(item, tuple | list):
        return item
    if not isinstance(key, int) or not -len(item) <= key < len(item):
        raise IncompatibleInputs(f"the dataset's items are {len(item)} values without an image at {key!r}: set image_key")
    return item[key]


def _with_image(item: Any, key: int | str, image: Tensor) -> Any:
    if isinstance(item, Mapping):
        return {**item, key: image}
    if not isinstance(item, tuple | list):
        return image
    position = range(len(item))[int(key)]
    return tuple(image if number == position else value for number, value in enumerate(item))


def _as_uint8(image: Any) -> NDArray[np.uint8]:
    array = np.asarray(image)
    array = array[:, :, None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise IncompatibleInputs(
            f"our augmentation takes uint8 images [height, width, channels] or PIL images; the dataset has {array.dtype} "
            f"{list(array.shape)}: leave out its own transform"
        )
    return array
