"""Hugging Face datasets that were saved with `save_to_disk`: pictures decoded as those of folders are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DatasetSpec
from datapruning.data.image_folder.decode_cache import ImageFiles, read_image_bytes
from datapruning.data.image_folder.image_folder import decoded_dataset
from datapruning.data.image_folder.scan import TEST_FOLDERS, split_holdout
from datapruning.errors import InvalidFile, InvalidValue, MissingPackage, first_line

PREFIX = "hf:"


def open_saved(place: DatasetSpec, cache: Path) -> Dataset:
    """Open `hf:FOLDER`; a sample id is the row of the "train" split, unless `holdout` takes rows out of it.

    Args:
        place: its name begins with "hf:".
        cache: folder of caches.

    Raises:
        MissingPackage: `datasets` is not installed.
        InvalidFile: no such folder, or without exactly one image and one label column, or without a test split.
        InvalidValue: `holdout` where there is a test split.
    """
    root = Path(place.name.removeprefix(PREFIX)).expanduser()
    if not root.is_dir():
        raise InvalidFile(f"folder {root} is not there")
    try:
        import datasets
    except ImportError as error:
        raise MissingPackage(f"{PREFIX} needs the package datasets ({first_line(error)}): pip install datasets") from None
    try:
        found: Any = datasets.load_from_disk(str(root))
    except Exception as error:  # pyarrow and datasets have no common exception
        raise InvalidFile(f"folder {root} is no dataset that save_to_disk wrote ({first_line(error)})") from None
    tables: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {"train": found}
    if "train" not in tables:
        raise InvalidFile(f"folder {root} has no split named train; it has {', '.join(tables)}")
    test = next((name for name in TEST_FOLDERS if name in tables), None)
    if test is not None and place.holdout is not None:
        raise InvalidValue(f"folder {root} has a test split, {test}; --holdout is for datasets without one")
    if test is None and place.holdout is None:
        raise InvalidFile(f"folder {root} has no test split; say with --holdout 0.1 which share of train it is to be")
    image, label = _columns(datasets, tables["train"], root)
    classes = tuple(str(name) for name in tables["train"].features[label].names)
    learnt = _rows(datasets, root, tables["train"], image, label)
    if test is None:
        assert place.holdout is not None
        held = split_holdout(learnt.names, learnt.labels, place.holdout)
        splits = {"train": _subset(learnt, ~held), "test": _subset(learnt, held)}
    else:
        if tables[test].features.keys() < {image, label} or tables[test].features[label] != tables["train"].features[label]:
            raise InvalidFile(f"folder {root}: train and {test} have different columns or classes")
        splits = {"train": learnt, "test": _rows(datasets, root, tables[test], image, label)}
    whole = root.resolve()
    return decoded_dataset(whole.name, f"{PREFIX}{root}", replace(place, name=f"{PREFIX}{whole}"), classes, splits, cache)


def _columns(datasets: Any, table: Any, root: Path) -> tuple[str, str]:
    """The names of the image and the label column, found by the types of the features."""
    names = []
    for kind, what in ((datasets.Image, "image"), (datasets.ClassLabel, "label (ClassLabel)")):
        fitting = [name for name, feature in table.features.items() if isinstance(feature, kind)]
        if len(fitting) != 1:
            has = ", ".join(fitting) or "none"
            raise InvalidFile(f"folder {root}: exactly one {what} column is needed, there is {has}; select_columns helps")
        names.append(fitting[0])
    return names[0], names[1]


def _rows(datasets: Any, root: Path, table: Any, image: str, label: str) -> ImageFiles:
    encoded = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))

    def read(row: int) -> bytes:
        cell = encoded[row][image]
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        path = (root / str(cell["path"])).resolve()
        if not path.is_relative_to(root.resolve()):  # save_to_disk puts the pictures into its files
            raise ValueError(f"it lies outside the dataset's folder, in {path}")
        return read_image_bytes(path)

    labels = np.asarray(table.with_format("numpy")[label][:]).astype(np.int64)
    names = tuple(f"row {row}" for row in range(len(table)))
    return ImageFiles(names, labels, read, hashlib.sha256(str(table._fingerprint).encode()).hexdigest(), are_paths=False)


def _subset(pictures: ImageFiles, chosen: NDArray[np.bool_]) -> ImageFiles:
    rows = np.flatnonzero(chosen)
    names = tuple(pictures.names[row] for row in rows.tolist())
    key = hashlib.sha256(pictures.key.encode() + rows.astype("<i8").tobytes()).hexdigest()
    return ImageFiles(names, pictures.labels[rows], lambda i: pictures.read(int(rows[i])), key, are_paths=False)
