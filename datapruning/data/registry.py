"""The known datasets by name. Digits come with scikit-learn; all others are read from disk."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import OPTIONS, parse_dataset_spec
from datapruning.data.huggingface import PREFIX, open_saved
from datapruning.data.image_folder.image_folder import open_folder
from datapruning.data.torchvision_sets import ARRAY_SETS, IMAGE_FILE_SETS, open_array_set, open_image_file_set
from datapruning.errors import InvalidFile, InvalidValue, MissingPackage, UnknownName, first_line
from datapruning.io.npy import READ_ERRORS, read_npz_arrays
from datapruning.utils.names import check_utf8

ROOT_VARIABLE = "DPRUNE_DATA"
WORKSPACE = "dprune-runs"
DIGITS = "digits"
DIGITS_FILE = "datasets/data/digits.csv.gz"
"""Of scikit-learn."""
SOURCES = (DIGITS, *ARRAY_SETS)
"""Names of datasets whose images are arrays of one size."""
PATH_FORMS = ("a folder of images", "hf:FOLDER", "a path ending in .npz")
MAX_CLASSES = 2**20
NPZ_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def open_dataset(
    name: str = DIGITS,
    *,
    root: str | Path | None = None,
    download: bool = False,
    image_size: int | None = None,
    holdout: float | None = None,
    skip_unreadable: bool = False,
    image_format: str | None = None,
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
        workspace: decoded images are kept in `cache` inside it.
        reuse: other workspaces, whose decoded images are used where `workspace` has none; nothing is written there.

    Raises:
        UnknownName: no such dataset.
        InvalidFile: not found under `root`, a broken `.npz`, or a folder that cannot be used.
        InvalidValue: an option outside what is allowed, or of another kind of dataset.
        MissingPackage: "hf:" without `datasets`.
    """
    check_utf8(str(Path.cwd() / name), "the path of the dataset")
    spec = parse_dataset_spec(name).with_options(image_size, holdout, skip_unreadable, image_format)
    caches = [Path(folder).expanduser() / "cache" for folder in (workspace, *reuse)]
    if spec.name.startswith(PREFIX):
        return open_saved(spec, caches)
    folder = Path(root or os.environ.get(ROOT_VARIABLE) or "data").expanduser()
    if spec.name in IMAGE_FILE_SETS:
        return open_image_file_set(spec, folder, download, caches)
    if is_folder(spec.name):
        return open_folder(spec, caches)
    if not spec.is_plain and (spec.name in SOURCES or spec.name.endswith(".npz")):
        raise InvalidValue(f"{spec.name} is not a folder of images: {', '.join(OPTIONS)} are for such a folder")
    if spec.name.endswith(".npz"):
        return open_npz(Path(spec.name))
    if spec.name not in SOURCES:
        raise UnknownName("dataset", spec.name, [*SOURCES, *IMAGE_FILE_SETS, *PATH_FORMS])
    return open_array_set(spec.name, folder, download) if spec.name in ARRAY_SETS else open_digits()


def is_image_files(name: str) -> bool:
    """Whether a dataset of this name is made of image files, which are decoded when it is opened."""
    return name.startswith(PREFIX) or name in IMAGE_FILE_SETS or is_folder(name)


def is_folder(name: str) -> bool:
    """Whether a name means a folder: it is an existing folder or looks like a path, and is no dataset's and no `.npz`."""
    if name in SOURCES or name.endswith(".npz"):
        return False
    return Path(name).expanduser().is_dir() or any(separator in name for separator in ("/", os.sep))


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


def open_npz(path: Path) -> Dataset:
    """Open an `.npz` dataset; grey images may lack the channel axis; classes are named by number unless it names them.

    Raises:
        InvalidFile: missing, truncated, needing pickle, or with arrays of the wrong type or shape.
    """
    try:
        arrays = read_npz_arrays(path, (*NPZ_ARRAYS, "class_names"))
    except FileNotFoundError:
        raise InvalidFile(f"dataset {path} is not there") from None
    except READ_ERRORS as error:
        raise InvalidFile(f"dataset {path} cannot be read: {first_line(error)}") from None
    missing = [name for name in NPZ_ARRAYS if name not in arrays]
    if missing:
        raise InvalidFile(f"dataset {path} lacks {', '.join(missing)}")
    splits = []
    for role in ("train", "test"):
        images, labels = arrays[f"{role}_images"], arrays[f"{role}_labels"]
        if labels.dtype.kind not in "iu":
            raise InvalidFile(f"dataset {path}: {role}_labels are {labels.dtype}; whole numbers are needed")
        splits.append(Split(images if images.ndim == 4 else images[..., None], labels.astype(np.int64)))
    if "class_names" in arrays:
        if arrays["class_names"].ndim != 1:
            raise InvalidFile(f"dataset {path}: class_names is not a list of names")
        names = tuple(str(n) for n in arrays["class_names"])
    else:
        largest = int(max(split.labels.max(initial=0) for split in splits))
        if largest >= MAX_CLASSES:
            raise InvalidFile(f"dataset {path}: a label is {largest}; labels are numbers of classes, from 0")
        names = tuple(str(n) for n in range(1 + largest))
    return Dataset(path.stem, splits[0], splits[1], names, source=str(path.resolve()))
