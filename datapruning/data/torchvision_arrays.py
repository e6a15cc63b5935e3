"""torchvision's classification sets whose images are arrays of one size: one line each in a table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile, MissingPackage, first_line

DIGITS = tuple("0123456789")
BY_TRAIN: Mapping[str, Mapping[str, object]] = {"train": {"train": True}, "test": {"train": False}}
BY_SPLIT: Mapping[str, Mapping[str, object]] = {"train": {"split": "train"}, "test": {"split": "test"}}


@dataclass(frozen=True)
class TorchvisionSet:
    """One line of the table.

    Attributes:
        kind: class in `torchvision.datasets`.
        arguments: arguments of that class, for "train" and "test".
        common: arguments of both.
        classes: names of the classes; None: those of torchvision.
        first_label: the smallest label in the files; labels count from 0 here.
    """

    kind: str
    arguments: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: BY_TRAIN)
    common: Mapping[str, object] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    first_label: int = 0


SETS = {
    "cifar10": TorchvisionSet("CIFAR10"),
    "cifar100": TorchvisionSet("CIFAR100"),
    "emnist-balanced": TorchvisionSet("EMNIST", common={"split": "balanced"}),
    "emnist-digits": TorchvisionSet("EMNIST", common={"split": "digits"}),
    "emnist-letters": TorchvisionSet(
        "EMNIST", common={"split": "letters"}, classes=tuple("abcdefghijklmnopqrstuvwxyz"), first_label=1
    ),
    "fashion-mnist": TorchvisionSet("FashionMNIST"),
    "kmnist": TorchvisionSet("KMNIST"),
    "mnist": TorchvisionSet("MNIST"),
    "qmnist": TorchvisionSet("QMNIST"),
    "stl10": TorchvisionSet("STL10", BY_SPLIT),
    "svhn": TorchvisionSet("SVHN", BY_SPLIT, classes=DIGITS),
    "usps": TorchvisionSet("USPS", classes=DIGITS),
}


def torchvision_reader(entry: TorchvisionSet) -> Callable[[str, Path, bool], Dataset]:
    """A function (name, root, download) -> dataset, which raises as `open_splits` does."""

    def read(name: str, root: Path, download: bool) -> Dataset:
        splits = open_splits(name, entry, root, download)
        train, test = (
            Split(_images(splits[role].data), _labels(splits[role], entry.first_label)) for role in ("train", "test")
        )
        return Dataset(name, train, test, entry.classes or tuple(str(n) for n in splits["train"].classes))

    return read


def open_splits(name: str, entry: TorchvisionSet, root: Path, download: bool) -> dict[str, Any]:
    """Torchvision's datasets of the splits "train" and "test".

    Args:
        name: name of the dataset, for messages.
        entry: its line in the table.
        root: torchvision's folder.
        download: let torchvision fetch missing files.

    Raises:
        InvalidFile: not under `root`, or broken.
        MissingPackage: torchvision needs another package for it.
    """
    import torchvision.datasets

    kind: Any = getattr(torchvision.datasets, entry.kind)
    splits = {}
    for role, arguments in entry.arguments.items():
        try:
            splits[role] = kind(root=str(root), download=download, **arguments, **entry.common)
        except (RuntimeError, OSError, EOFError) as error:
            raise InvalidFile(
                f"{name} is not under {root} ({first_line(error)}): allow the download, or name the folder that holds it, "
                "which $DPRUNE_DATA can do too",
                parameter="data_root",
            ) from None
        except ImportError as error:
            raise MissingPackage(f"{name} cannot be read without another package ({first_line(error)})") from None
        except ValueError as error:
            raise InvalidFile(f"{name} under {root} is broken ({first_line(error)}); delete it and fetch it again") from None
    return splits


def _images(data: Any) -> NDArray[np.uint8]:
    """uint8 [n, height, width, channels] of torchvision's arrays, which lack channels or have them first."""
    images: NDArray[np.uint8] = np.asarray(data)
    if images.ndim == 3:
        return images[..., None]
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if images.shape[1] == 3 else images


def _labels(split: Any, first_label: int) -> NDArray[np.int64]:
    """int64 [n]; of QMNIST's eight columns the first."""
    labels = np.asarray(split.targets if hasattr(split, "targets") else split.labels).astype(np.int64)
    return (labels[:, 0] if labels.ndim == 2 else labels) - first_label
