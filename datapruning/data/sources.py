"""Sources: `--data` names to datasets. Digits are embedded; torchvision sets and `.npz` files are read from disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.data.dataset import Dataset, Split
from datapruning.errors import BadFile, UnknownName, reason

ROOT_VARIABLE = "DPRUNE_DATA"
UNREADABLE = (OSError, ValueError, EOFError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error)
NPZ_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def open_dataset(name: str = "digits", *, root: str | Path | None = None, download: bool = False) -> Dataset:
    """Open a dataset by name or path.

    Args:
        name: "digits", a torchvision name ("cifar10", "cifar100", "fashion-mnist"), or the path of an `.npz` with
            train_images, train_labels, test_images, test_labels (images uint8 [n, h, w] or [n, h, w, c]) and,
            optionally, class_names.
        root: folder of the torchvision sets; default `$DPRUNE_DATA`, else `./data`.
        download: let torchvision fetch what is missing.

    Raises:
        UnknownName: no such dataset.
        BadFile: not found under `root`, or a broken `.npz`.
    """
    if name.endswith(".npz"):
        return open_npz(Path(name))
    if name not in SOURCES:
        raise UnknownName("dataset", name, [*SOURCES, "a path ending in .npz"])
    folder = Path(root or os.environ.get(ROOT_VARIABLE) or "data").expanduser()
    return SOURCES[name](name, folder, download)


def _digits(name: str, root: Path, download: bool) -> Dataset:
    """The 1,797 handwritten digits inside scikit-learn, 8x8 grey in 0..16; every fifth is a test sample."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(labels)) % 5 == 4
    names = tuple(str(n) for n in bunch.target_names)
    return Dataset(name, Split(images[~test], labels[~test]), Split(images[test], labels[test]), names)


def _torchvision(class_name: str) -> Callable[[str, Path, bool], Dataset]:
    def read(name: str, root: Path, download: bool) -> Dataset:
        import torchvision.datasets

        source: Any = getattr(torchvision.datasets, class_name)
        try:
            parts = [source(root=str(root), train=train, download=download) for train in (True, False)]
        except RuntimeError as error:
            raise BadFile(
                f"{name} is not under {root} ({reason(error)}): name its folder with --data-root or ${ROOT_VARIABLE}, "
                "or fetch it with --download"
            ) from None
        splits = []
        for part in parts:
            images = np.asarray(part.data)
            splits.append(Split(images if images.ndim == 4 else images[..., None], np.asarray(part.targets, np.int64)))
        return Dataset(name, splits[0], splits[1], tuple(str(n) for n in parts[0].classes))

    return read


SOURCES: dict[str, Callable[[str, Path, bool], Dataset]] = {
    "digits": _digits,
    "fashion-mnist": _torchvision("FashionMNIST"),
    "cifar10": _torchvision("CIFAR10"),
    "cifar100": _torchvision("CIFAR100"),
}


def open_npz(path: Path) -> Dataset:
    """Open an `.npz` dataset; grey images may lack the channel axis; classes are named by number unless it names them.

    Raises:
        BadFile: missing, truncated, needing pickle, or with arrays of the wrong type or shape.
    """
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise BadFile(f"dataset {path} is no .npz archive")
            arrays = {name: archive[name] for name in (*NPZ_ARRAYS, "class_names") if name in archive.files}
    except FileNotFoundError:
        raise BadFile(f"dataset {path} is not there") from None
    except UNREADABLE as error:
        raise BadFile(f"dataset {path} cannot be read: {reason(error)}") from None
    missing = [name for name in NPZ_ARRAYS if name not in arrays]
    if missing:
        raise BadFile(f"dataset {path} lacks {', '.join(missing)}")
    splits = []
    for role in ("train", "test"):
        images, labels = arrays[f"{role}_images"], arrays[f"{role}_labels"]
        if not np.issubdtype(labels.dtype, np.integer):
            raise BadFile(f"dataset {path}: {role}_labels are {labels.dtype}; whole numbers are needed")
        splits.append(Split(images if images.ndim == 4 else images[..., None], labels.astype(np.int64)))
    if "class_names" in arrays:
        if arrays["class_names"].ndim != 1:
            raise BadFile(f"dataset {path}: class_names is no list of names")
        names = tuple(str(n) for n in arrays["class_names"])
    else:
        names = tuple(str(n) for n in range(1 + int(max(s.labels.max(initial=0) for s in splits))))
    return Dataset(path.stem, splits[0], splits[1], names, source=str(path.resolve()))
