"""Datasets made of picture files: a folder, or a Hugging Face dataset on disk; decoded once, then arrays like any other."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import DEFAULT_SIZE, DatasetSpec
from datapruning.data.image_folder.decode import RULE
from datapruning.data.image_folder.decode_cache import (
    DecodedSplit,
    ImageFiles,
    decode_splits,
    decoded_folder,
    read_image_bytes,
)
from datapruning.data.image_folder.image_format import ImageFormat
from datapruning.data.image_folder.lazy_images import ImageSubset
from datapruning.data.image_folder.scan import ImageListing, scan_image_folder
from datapruning.errors import InvalidFile


def open_folder(place: DatasetSpec, cache: Path) -> Dataset:
    """A folder of pictures (see `datapruning.data.image_folder.scan.scan_image_folder`).

    Raises:
        InvalidFile, InvalidValue: as `scan_image_folder` and `datapruning.data.image_folder.decode_cache.decode_splits`.
    """
    root = Path(place.name).expanduser()
    classes, train, test = scan_image_folder(root, place.holdout, cache.parent)
    splits = {"train": image_files_of(root, train), "test": image_files_of(root, test)}
    whole = root.resolve()
    return decoded_dataset(whole.name, f"folder {root}", replace(place, name=str(whole)), classes, splits, cache)


def decoded_dataset(
    name: str, where: str, place: DatasetSpec, classes: tuple[str, ...], splits: dict[str, ImageFiles], cache: Path
) -> Dataset:
    """The dataset of decoded splits.

    Unreadable training pictures keep their ids; unreadable test pictures are left out.

    Args:
        name: of the dataset.
        where: what messages call it.
        place: by which it is opened again.
        classes: names, by label.
        splits: "train" and "test".
        cache: folder of caches.

    Raises:
        InvalidFile: as `datapruning.data.image_folder.decode_cache.decode_splits`, and where not one picture of a
            split can be read.
    """
    size, name = place.size or DEFAULT_SIZE, name or "pictures"
    form = ImageFormat(size, place.quality)
    folder = decoded_folder(name, form, splits, cache)
    found = decode_splits(where, splits, form, folder, skip_unreadable=place.skip_unreadable)
    train, test = splits["train"], splits["test"]
    for role, decoded in found.items():
        if len(decoded.corrupt_ids) == len(decoded.images):
            raise InvalidFile(f"{where}: not one picture of the {role} set can be read")
    good = np.delete(np.arange(len(test.names)), found["test"].corrupt_ids)
    images: Any = found["test"].images
    if len(good) < len(test.names):
        images = ImageSubset(images, good)
    return Dataset(
        name,
        Split(found["train"].images, train.labels),
        Split(images, test.labels[good]),
        classes,
        str(replace(place, size=size)),
        content_hash=_content_hash(found, form),
        train_paths=train.names if train.are_paths else None,
        test_paths=tuple(test.names[i] for i in good.tolist()) if test.are_paths else None,
        corrupt_ids=found["train"].corrupt_ids,
        pixel_sums=found["train"].pixel_sums,
    )


def image_files_of(root: Path, found: ImageListing) -> ImageFiles:
    """The files of a split. As for `make`, a file has changed where its size or its time of change has."""
    state = hashlib.sha256(str(root.resolve()).encode())
    for path in found.paths:
        try:
            about = (root / path).stat()
        except OSError:
            state.update(f"{path}\0not there\n".encode())  # a link that leads nowhere: found when it is read
        else:
            state.update(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return ImageFiles(found.paths, found.labels, lambda i: read_image_bytes(root / found.paths[i]), state.hexdigest())


def _content_hash(found: dict[str, DecodedSplit], form: ImageFormat) -> str:
    parts = [RULE, str(form.size), *form.suffix, *(found[role].content_hash for role in ("train", "test"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
