"""torchvision's classification sets, one line each in a table: arrays of images of one size, or lists of image files.

Image files are decoded as those of folders are.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import DatasetSpec
from datapruning.data.image_folder.image_files import ImageFiles, files_at
from datapruning.data.image_folder.image_folder import decoded_dataset
from datapruning.data.image_folder.scan import check_holdout
from datapruning.errors import InvalidFile, MissingPackage, first_line
from datapruning.utils.processes import main_first

DIGITS = tuple("0123456789")
BY_TRAIN: Mapping[str, Mapping[str, object]] = {"train": {"train": True}, "test": {"train": False}}
BY_SPLIT: Mapping[str, Mapping[str, object]] = {"train": {"split": "train"}, "test": {"split": "test"}}
WITH_VALIDATION: Mapping[str, Mapping[str, object]] = {"train": {"split": "trainval"}, "test": {"split": "test"}}


@dataclass(frozen=True)
class TorchvisionSet:
    """One line of the table: the class `kind` in `torchvision.datasets`, with its `arguments` for "train" and "test".

    `common` are arguments of both; `classes` are the names of the classes (None: those of torchvision); `first_label` is the
    smallest label in the files, while labels count from 0 here.
    """

    kind: str
    arguments: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: BY_TRAIN)
    common: Mapping[str, object] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    first_label: int = 0


ARRAY_SETS = {
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


IMAGE_FILE_SETS = {
    "dtd": TorchvisionSet("DTD", BY_SPLIT),
    "fgvc-aircraft": TorchvisionSet("FGVCAircraft", WITH_VALIDATION),
    "flowers102": TorchvisionSet("Flowers102", BY_SPLIT),
    "food101": TorchvisionSet("Food101", BY_SPLIT),
    "gtsrb": TorchvisionSet("GTSRB", BY_SPLIT),
    "oxford-iiit-pet": TorchvisionSet("OxfordIIITPet", WITH_VALIDATION),
}
"""Sets with a train/test split. Those that are class folders already are opened as folders."""


def open_array_set(name: str, root: Path, download: bool) -> Dataset:
    """Open one of `ARRAY_SETS` in torchvision's folder `root`. Raises as `_open_splits` does."""
    entry = ARRAY_SETS[name]
    splits = _open_splits(name, entry, root, download)
    train, test = (Split(_images(splits[role].data), _labels(splits[role], entry.first_label)) for role in ("train", "test"))
    return Dataset(name, train, test, entry.classes or tuple(str(n) for n in splits["train"].classes))


def open_image_file_set(spec: DatasetSpec, root: Path, download: bool, caches: Sequence[Path]) -> Dataset:
    """Open one of `IMAGE_FILE_SETS` in torchvision's folder `root`; a sample id is the position in torchvision's object.

    Raises:
        InvalidFile, MissingPackage: as `_open_splits`, and files that are no images.
        InvalidValue: `holdout`; these sets have a test set.
    """
    if spec.holdout is not None:
        check_holdout(spec.name, "torchvision's", spec.holdout)
    splits = _open_splits(spec.name, IMAGE_FILE_SETS[spec.name], root, download)
    files = {role: _list_files(spec.name, split, root) for role, split in splits.items()}
    classes = getattr(splits["train"], "classes", None)
    if classes is None:
        classes = range(1 + max(int(split_files.labels.max()) for split_files in files.values()))
    return decoded_dataset(spec.name, spec.name, spec, tuple(str(name) for name in classes), files, caches)


def _open_splits(name: str, entry: TorchvisionSet, root: Path, download: bool) -> dict[str, Any]:
    """Torchvision's datasets of the splits "train" and "test"; with `download`, torchvision fetches missing files.

    Raises:
        InvalidFile: not under `root`, or broken. MissingPackage: torchvision needs another package for it.
    """
    import torchvision.datasets

    kind: Any = getattr(torchvision.datasets, entry.kind)
    splits = {}
    for role, arguments in entry.arguments.items():
        try:
            with main_first():  # the others find what the first has fetched
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


def _list_files(name: str, split: Any, root: Path) -> ImageFiles:
    """The files and labels, which torchvision keeps under one of three names and hands out only decoded.

    Raises:
        InvalidFile: the installed torchvision keeps them under another name.
    """
    pairs = list(getattr(split, "_samples", ()))
    if not pairs and hasattr(split, "_labels"):
        files = split._image_files if hasattr(split, "_image_files") else getattr(split, "_images", [])
        pairs = list(zip(files, split._labels, strict=False))
    if len(pairs) != len(split) or not pairs:
        raise InvalidFile(
            f"{name}: this version of torchvision keeps its list of files elsewhere; put them in class folders"
        )
    paths = tuple(os.path.relpath(path, root).replace(os.sep, "/") for path, _ in pairs)
    return files_at(root, paths, np.array([int(label) for _, label in pairs], np.int64))
