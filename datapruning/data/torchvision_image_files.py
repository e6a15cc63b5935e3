"""torchvision's classification sets that are lists of image files; they are decoded as folders are."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DatasetSpec
from datapruning.data.image_folder.image_files import files_of_listing
from datapruning.data.image_folder.image_folder import decoded_dataset
from datapruning.data.image_folder.scan import ImageListing, check_holdout
from datapruning.data.torchvision_arrays import BY_SPLIT, TorchvisionSet, open_splits
from datapruning.errors import InvalidFile

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


def open_image_file_set(spec: DatasetSpec, root: Path, download: bool, cache: Path) -> Dataset:
    """Open one of `IMAGE_FILE_SETS`; a sample id is the position in torchvision's object.

    Args:
        spec: its name, and how its images are read.
        root: torchvision's folder.
        download: let torchvision fetch missing files.
        cache: folder of caches.

    Raises:
        InvalidFile: not under `root`, broken, or with files that are no images.
        InvalidValue: `holdout`; these sets have a test set.
        MissingPackage: torchvision needs another package for it.
    """
    if spec.holdout is not None:
        check_holdout(spec.name, "torchvision's", spec.holdout)
    splits = open_splits(spec.name, IMAGE_FILE_SETS[spec.name], root, download)
    listings = {role: _list_files(spec.name, split, root) for role, split in splits.items()}
    classes = getattr(splits["train"], "classes", None)
    if classes is None:
        classes = range(1 + max(int(listing.labels.max()) for listing in listings.values()))
    files = {role: files_of_listing(root, listing) for role, listing in listings.items()}
    return decoded_dataset(spec.name, spec.name, spec, tuple(str(name) for name in classes), files, cache)


def _list_files(name: str, split: Any, root: Path) -> ImageListing:
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
    return ImageListing(paths, np.array([int(label) for _, label in pairs], np.int64))
