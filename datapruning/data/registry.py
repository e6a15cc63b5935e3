"""The known datasets by name. Digits come with scikit-learn; all others are read from disk."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datapruning.data.corrected_labels import correct_labels
from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import ARRAYS, IMAGE_FILES, NPZ, DatasetSpec, parse_dataset_spec
from datapruning.data.flat_images import announce_flat_images
from datapruning.data.huggingface import PREFIX, open_saved
from datapruning.data.image_folder.image_folder import open_folder
from datapruning.data.image_folder.scan import FOLDER_IS_NEEDED
from datapruning.data.missing_classes import missing_classes
from datapruning.data.npz_dataset import open_npz
from datapruning.data.torchvision_sets import ARRAY_SETS, IMAGE_FILE_SETS, open_array_set, open_image_file_set
from datapruning.errors import InvalidFile, MissingPackage, UnknownName
from datapruning.utils.console import info
from datapruning.utils.names import check_utf8, expand_user

ROOT_VARIABLE = "DPRUNE_DATA"
WORKSPACE = "dprune-runs"
DIGITS = "digits"
DIGITS_FILE = "datasets/data/digits.csv.gz"
"""Of scikit-learn."""
SOURCES = (DIGITS, *ARRAY_SETS)
"""Names of datasets whose images are arrays of one size."""
PATH_FORMS = ("a folder of images", "hf:FOLDER", "a path ending in .npz")


def open_dataset(
    name: str | Path = DIGITS,
    *,
    root: str | Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    holdout: float | None = None,
    skip_unreadable: bool = False,
    image_format: str | None = None,
    layout: str | None = None,
    labels_from: int | None = None,
    pixel_range: str | None = None,
    allow_empty_classes: bool = False,
    corrected_labels: str | Path | None = None,
    workspace: str | Path = WORKSPACE,
    reuse: Sequence[str | Path] = (),
) -> Dataset:
    """Open a dataset by name or path.

    Args:
        name: "digits"; a torchvision name ("cifar10", "svhn", "food101", ...); the path of a folder with one folder of
            images for each class, in train/ and test/ (see docs/data.md); "hf:" and the path of a Hugging Face dataset on
            disk; or the path of an `.npz` with train_images, train_labels, test_images, test_labels (images uint8
            [n, h, w] or [n, h, w, c]) and, optionally, class_names. A `Dataset.source` is one too.
        root: folder of the torchvision sets; default: `$DPRUNE_DATA`, else `./data`.
        download: let torchvision fetch missing files.
        image_size: side in pixels to which image files are decoded; default 64.
        holdout: of a folder without test/, the fraction of each class that becomes the test set.
        skip_unreadable: leave out files that are not images; they keep their ids, and are never selected.
        image_format: how decoded images are stored: "raw", or "jpg" or "jpg:QUALITY", which takes a tenth of the space.
        layout: "nchw" of an `.npz` whose images have the channels first; default: "nhwc".
        labels_from: the smallest label of an `.npz`; default 0.
        pixel_range: the values of black and white, such as "0..1" or "0..4095", of an `.npz` whose images are not 8-bit
            numbers, and of image files with more than 8 bits whose range the file does not say.
        allow_empty_classes: take classes without a training sample.
        corrected_labels: a CSV with the columns id and corrected, other labels of training samples: see `correct_labels`.
        workspace: decoded images are kept in `cache` inside it.
        reuse: other workspaces, whose decoded images are used where `workspace` has none; nothing is written there.

    Raises:
        UnknownName: no such dataset, or a corrected label of a class that it does not have.
        InvalidFile: not found under `root`, a broken `.npz`, a folder that cannot be used, or a class without a training
            sample.
        InvalidValue: an option outside what is allowed, or of another kind of dataset.
        MissingPackage: "hf:" without `datasets`.
    """
    name = os.fspath(name)
    check_utf8(str(Path.cwd() / name), "the path of the dataset")
    options = {
        "image_size": image_size, "holdout": holdout, "skip_unreadable": skip_unreadable, "image_format": image_format,
        "layout": layout, "labels_from": labels_from, "pixel_range": pixel_range, "allow_empty_classes": allow_empty_classes,
        "corrected_labels": None if corrected_labels is None else os.fspath(corrected_labels),
    }  # fmt: skip
    spec = parse_dataset_spec(name).with_options(options)
    caches = [expand_user(folder) / "cache" for folder in (workspace, *reuse)]
    data = _open(
        replace(spec, corrected_labels=None), expand_user(root or os.environ.get(ROOT_VARIABLE) or "data"), download, caches
    )
    if spec.corrected_labels is not None:
        path = Path(os.path.abspath(expand_user(spec.corrected_labels)))
        opened = parse_dataset_spec(data.spec)
        data = replace(correct_labels(data, path), source=str(replace(opened, corrected_labels=str(path))))
    _check_classes(data, spec)
    announce_flat_images(data)
    return data


def _open(spec: DatasetSpec, root: Path, download: bool, caches: Sequence[Path]) -> Dataset:
    name = spec.name
    if is_image_files(name):
        spec.check_kind(IMAGE_FILES)
        if name.startswith(PREFIX):
            return open_saved(spec, caches)
        if name not in IMAGE_FILE_SETS:
            return open_folder(spec, caches)
        _announce_others(name)
        return open_image_file_set(spec, root, download, caches)
    if name.endswith(".npz"):
        spec.check_kind(NPZ)
        return open_npz(spec)
    if name not in SOURCES and os.path.isfile(name):
        raise InvalidFile(f"{name} is a file; {FOLDER_IS_NEEDED}")
    if name not in SOURCES:
        raise UnknownName("dataset", name, [*SOURCES, *IMAGE_FILE_SETS, *PATH_FORMS])
    spec.check_kind(ARRAYS)
    _announce_others(name)
    return open_array_set(name, root, download) if name in ARRAY_SETS else open_digits()


def _announce_others(name: str) -> None:
    """Say that a built-in dataset was taken although a folder or an `.npz` here has its name."""
    for path in (Path(name), Path(f"{name}.npz")):
        if path.exists():
            info(f"{name} is the built-in dataset; {path} in this folder is named ./{path}")


def _check_classes(data: Dataset, spec: DatasetSpec) -> None:
    """Refuse classes without a readable training sample, unless they are allowed or those of a built-in dataset.

    Those, and classes without a test sample, are printed.

    Raises:
        InvalidFile: naming the first ones.
    """
    is_free = spec.allow_empty_classes or spec.name in SOURCES or spec.name in IMAGE_FILE_SETS
    for role, labels in (("training", data.train.labels[data.valid_ids]), ("test", data.test.labels)):
        missing = missing_classes(labels, data.class_names)
        line = f"{data.name}: {missing} have no {role} sample"
        if missing and role == "training" and not is_free:
            raise InvalidFile(
                f"{line}; correct the labels or the list of classes, or allow it", parameter="allow_empty_classes"
            )
        if missing:
            info(line)


def is_image_files(name: str) -> bool:
    """Whether a dataset of this name is made of image files, which are decoded when it is opened."""
    return name.startswith(PREFIX) or name in IMAGE_FILE_SETS or is_folder(name)


def is_folder(name: str) -> bool:
    """Whether a name means a folder: it is an existing folder or looks like a path, and is no dataset's and no `.npz`."""
    if name in SOURCES or name.endswith(".npz"):
        return False
    return os.path.isdir(expand_user(name)) or any(separator in name for separator in ("/", os.sep))


def open_digits() -> Dataset:
    """The 1,797 handwritten digits inside scikit-learn, 8x8 grey in 0..16; every fifth is a test sample.

    Their file is read without importing scikit-learn, which takes as long as importing torch.

    Raises:
        MissingPackage: scikit-learn is not installed.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise MissingPackage("the digits come with scikit-learn: pip install scikit-learn")
    rows = np.loadtxt(Path(package.submodule_search_locations[0]) / DIGITS_FILE, delimiter=",")  # 64 pixels and the label
    images = np.round(rows[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = rows[:, -1].astype(np.int64)
    test = np.arange(len(labels)) % 5 == 4
    names = tuple(str(n) for n in range(10))
    return Dataset(DIGITS, Split(images[~test], labels[~test]), Split(images[test], labels[test]), names)
