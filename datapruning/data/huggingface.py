"""Hugging Face datasets that were saved with `save_to_disk`; their images are decoded as those of folders are."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DatasetSpec
from datapruning.data.image_folder.image_files import ImageFiles, files_at, read_image_bytes
from datapruning.data.image_folder.image_folder import decoded_dataset
from datapruning.data.image_folder.scan import check_holdout, split_holdout
from datapruning.data.image_folder.splits import TEST_FOLDERS
from datapruning.errors import InvalidFile, MissingPackage, first_line
from datapruning.utils.names import expand_user

PREFIX = "hf:"


def open_saved(spec: DatasetSpec, caches: Sequence[Path]) -> Dataset:
    """Open `hf:FOLDER`, with the folders of caches, one's own first; a sample id is the row of the "train" split.

    With `holdout` the ids are those of the rows that it leaves there, in order.

    Raises:
        MissingPackage: `datasets` is not installed.
        InvalidFile: no such folder, or without exactly one image and one label column, or without a test split.
        InvalidValue: `holdout` although there is a test split.
    """
    root = expand_user(spec.name.removeprefix(PREFIX))
    if not os.path.isdir(root):
        raise InvalidFile(f"folder {root} is not there")
    try:
        import datasets
    except ImportError as error:
        raise MissingPackage(f"{PREFIX} needs the package datasets ({first_line(error)}): pip install datasets") from None
    try:
        saved: Any = datasets.load_from_disk(str(root))
    except Exception as error:  # pyarrow and datasets have no common exception
        raise InvalidFile(f"folder {root} is not a dataset that save_to_disk wrote ({first_line(error)})") from None
    tables: dict[str, Any] = dict(saved) if isinstance(saved, Mapping) else {"train": saved}
    if "train" not in tables:
        raise InvalidFile(f"folder {root} has no split named train; it has {', '.join(tables)}")
    test = next((name for name in TEST_FOLDERS if name in tables), None)
    check_holdout(f"folder {root}", test, spec.holdout)
    train_features = tables["train"].features
    image, label = _columns(datasets, train_features, root)
    files = _image_files(datasets, root, "train", tables["train"], image, label)
    if test is None:
        assert spec.holdout is not None
        is_test = split_holdout(files.names, files.labels, spec.holdout)
        splits = {"train": files.subset(~is_test), "test": files.subset(is_test)}
    else:
        test_features = tables[test].features
        if test_features.keys() < {image, label} or test_features[label] != train_features[label]:
            raise InvalidFile(f"folder {root}: train and {test} have different columns or classes")
        splits = {"train": files, "test": _image_files(datasets, root, test, tables[test], image, label)}
    classes, path = tuple(str(name) for name in train_features[label].names), root.resolve()
    return decoded_dataset(path.name, f"{PREFIX}{root}", replace(spec, name=f"{PREFIX}{path}"), classes, splits, caches)


def _columns(datasets: Any, features: Any, root: Path) -> tuple[str, str]:
    """Return the names of the image and the label column, identified by their types."""
    names = []
    for kind, content in ((datasets.Image, "image"), (datasets.ClassLabel, "label (ClassLabel)")):
        columns = [name for name, feature in features.items() if isinstance(feature, kind)]
        if len(columns) != 1:
            listed = ", ".join(columns) or "none"
            raise InvalidFile(
                f"folder {root}: exactly one {content} column is needed, there is {listed}; select_columns helps"
            )
        names.append(columns[0])
    return names[0], names[1]


def _image_files(datasets: Any, root: Path, split: str, table: Any, image: str, label: str) -> ImageFiles:
    encoded = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))

    def read(row: int) -> bytes:
        cell = encoded[row][image]
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise ValueError(f"column '{image}' has no image there")
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        path = (root / str(cell["path"])).resolve()
        if not path.is_relative_to(root.resolve()):  # save_to_disk puts the images into its files
            raise ValueError(f"it lies outside the dataset's folder, in {path}")
        return read_image_bytes(path)

    labels = _labels(f"folder {root}, {split}", table, label)
    names = tuple(f"row {row}" for row in range(len(table)))
    paths = tuple(str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file())
    key = files_at(root, paths, labels).key  # the fingerprint of `datasets` may be a hash of the script that made the rows
    return ImageFiles(names, labels, read, lambda: f"{split} of {key()}", are_paths=False)


def _labels(where: str, table: Any, label: str) -> NDArray[np.int64]:
    """The labels of the rows, int64 [n].

    Raises:
        InvalidFile: a row without a label, naming the first.
    """
    values, num_classes = table[label][:], len(table.features[label].names)
    wrong = [row for row, value in enumerate(values) if value is None or not 0 <= value < num_classes]
    if wrong:
        raise InvalidFile(
            f"{where}: row {wrong[0]}, column '{label}' is {values[wrong[0]]}, which is none of the {num_classes} classes "
            f"({len(wrong):,} such rows); filter them out, and save it again"
        )
    return np.array(values, np.int64)
