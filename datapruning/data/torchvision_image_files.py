"""torchvision's classification sets that are lists of picture files: decoded as those of folders are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DatasetSpec
from datapruning.data.image_folder.image_folder import decoded_dataset, image_files_of
from datapruning.data.image_folder.scan import ImageListing
from datapruning.data.torchvision_arrays import BY_SPLIT, TorchvisionSet, open_parts
from datapruning.errors import InvalidFile, InvalidValue

WITH_VALIDATION = {"train": {"split": "trainval"}, "test": {"split": "test"}}
IMAGE_FILE_SETS = {
    "dtd": TorchvisionSet("DTD", BY_SPLIT),
    "fgvc-aircraft": TorchvisionSet("FGVCAircraft", WITH_VALIDATION),
    "flowers102": TorchvisionSet("Flowers102", BY_SPLIT),
    "food101": TorchvisionSet("Food101", BY_SPLIT),
    "gtsrb": TorchvisionSet("GTSRB", BY_SPLIT),
    "oxford-iiit-pet": TorchvisionSet("OxfordIIITPet", WITH_VALIDATION),
}
"""Sets with a train/test split. Those that are class folders already are opened as folders."""


def open_image_file_set(place: DatasetSpec, root: Path, download: bool, cache: Path) -> Dataset:
    """Open one of `IMAGE_FILE_SETS`; a sample id is the position in torchvision's object.

    Args:
        place: its name, and how pictures are read.
        root: torchvision's folder.
        download: let torchvision fetch what is missing.
        cache: folder of caches.

    Raises:
        InvalidFile: not under `root`, broken, or with files that are no pictures.
        InvalidValue: `holdout`; these sets have a test split.
        MissingPackage: torchvision needs another one for it.
    """
    if place.holdout is not None:
        raise InvalidValue(f"{place.name} has a test set; --holdout is for folders without one")
    parts = open_parts(place.name, IMAGE_FILE_SETS[place.name], root, download)
    found = {role: _list_files(place.name, part, root) for role, part in parts.items()}
    classes = getattr(parts["train"], "classes", None)
    if classes is None:
        classes = range(1 + max(int(each.labels.max()) for each in found.values()))
    splits = {role: image_files_of(root, each) for role, each in found.items()}
    return decoded_dataset(place.name, place.name, place, tuple(str(c) for c in classes), splits, cache)


def _list_files(name: str, part: Any, root: Path) -> ImageListing:
    """The files and labels, which torchvision keeps under one of three names and hands out only decoded.

    Raises:
        InvalidFile: this torchvision keeps them elsewhere.
    """
    pairs: Iterable[tuple[Any, Any]]
    if hasattr(part, "_samples"):
        pairs = part._samples
    elif hasattr(part, "_labels"):
        files = part._image_files if hasattr(part, "_image_files") else getattr(part, "_images", [])
        pairs = zip(files, part._labels, strict=False)
    else:
        pairs = ()
    listed = list(pairs)
    if len(listed) != len(part) or not listed:
        raise InvalidFile(
            f"{name}: this version of torchvision keeps its list of files elsewhere; put them in class folders"
        )
    paths = tuple(os.path.relpath(path, root).replace(os.sep, "/") for path, _ in listed)
    return ImageListing(paths, np.array([int(label) for _, label in listed], np.int64))
