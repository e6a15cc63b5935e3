"""Listing a folder of class folders: which images it holds, in which order, of which class. No image is opened.

The rule is that of torchvision's `ImageFolder`: classes are the top folders, sorted by name character by character ("10"
comes before "9"); every image below one, however deep, is of that class; images are sorted by their folder, then by name.
So a sample id is the position in `ImageFolder("FOLDER/train")`.
"""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.data.image_folder.annotations import annotated_images, find_annotations
from datapruning.data.image_folder.class_files import (
    IMAGE_SUFFIXES,
    FolderNotes,
    has_folders,
    list_classes,
    walk_images,
)
from datapruning.data.image_folder.image_files import ImageFiles, files_at
from datapruning.data.image_folder.splits import find_splits, find_wrapped
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.utils.console import info
from datapruning.utils.hashing import config_hash
from datapruning.utils.names import check_utf8

FOLDER_IS_NEEDED = (
    "a dataset is a folder with one folder of images for each class (unpack an archive), or an .npz, whose name ends so"
)


def scan_image_folder(
    root: Path, holdout: float | None, excluded_dir: Path | None = None, allow_empty: bool = False
) -> tuple[tuple[str, ...], ImageFiles, ImageFiles]:
    """List the images of a folder: (class names, training images, test images).

    Args:
        root: a folder with train/ and test/ (or val/, Training/, ...) in it, of class folders, or the test set as
            Tiny-ImageNet's val/ (`annotations`); or with class folders, in train/ or in itself.
        holdout: for the latter, the fraction of each class that becomes the test set.
        excluded_dir: a folder that is not a class, wherever it lies: the workspace.
        allow_empty: take classes without an image, and those of one split alone.

    Raises:
        InvalidFile: no such folder, no images, an empty class folder, splits with different classes, an impossible name.
        InvalidValue: `holdout` although there is a test folder.
    """
    if not os.path.isdir(root):
        raise InvalidFile(f"{root} is a file; {FOLDER_IS_NEEDED}" if os.path.exists(root) else f"folder {root} is not there")
    trains, tests = find_splits(root, None if excluded_dir is None else excluded_dir.resolve())
    train, tests = (trains[0], tests) if trains else (root, [])
    if not trains:
        _refuse_wrapped(root)
    annotations = find_annotations(tests)
    tests = _with_classes(root, tests) if annotations is None else [annotations.parent]
    check_holdout(f"folder {root}", f"{tests[0].name}/" if tests else None, holdout)
    classes, images = _list_images(root, train, excluded_dir, allow_empty)
    if holdout is not None:
        is_test = split_holdout(images.names, images.labels, holdout)
        return classes, images.subset(~is_test), images.subset(is_test)
    if annotations is not None:
        return classes, images, annotated_images(root, annotations, classes)
    test_classes, test_images = _list_images(root, tests[0], excluded_dir, allow_empty)
    if classes != test_classes and allow_empty:
        both = tuple(sorted({*classes, *test_classes}))
        renumbered = [
            replace(files, labels=np.array([both.index(name) for name in names], np.int64)[files.labels])
            for names, files in ((classes, images), (test_classes, test_images))
        ]
        return both, renumbered[0], renumbered[1]
    if classes != test_classes:
        train_alone = [name for name in classes if name not in test_classes]
        test_alone = [name for name in test_classes if name not in classes]
        differences = [
            f"{folder.name} alone has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            for folder, names in ((train, train_alone), (tests[0], test_alone))
            if names
        ]
        alike = next((pair for pair in product(train_alone, test_alone) if _folded(pair[0]) == _folded(pair[1])), None)
        why = (
            "" if alike is None else f" ({alike[0]!a} and {alike[1]!a} differ in case, blanks or the form of Unicode alone)"
        )
        raise InvalidFile(
            f"folder {root}: train and test have different classes: {'; '.join(differences)}{why}; correct it, or allow it",
            parameter="allow_empty_classes",
        )
    return classes, images, test_images


def _refuse_wrapped(root: Path) -> None:
    """Refuse a folder without train and test sets if they lie one level deeper.

    Raises:
        InvalidFile: naming that folder.
    """
    wrapped = find_wrapped(root)
    if len(wrapped) == 1:
        raise InvalidFile(f"folder {root} has no train and test sets, but {wrapped[0]} in it has: name that folder")
    if wrapped:
        names = ", ".join(path.name for path in wrapped)
        raise InvalidFile(
            f"folder {root}: {names} have train and test sets of their own; name one, or put classes into them"
        )


def _with_classes(root: Path, tests: list[Path]) -> list[Path]:
    """Of several test sets those from the first on that has class folders; which are passed over is printed."""
    first = next((number for number, path in enumerate(tests) if has_folders(path)), 0)
    for path in tests[:first]:
        info(f"{root}: {path.name}/ has no class folders, so {tests[first].name}/ is the test set")
    return tests[first:]


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def check_holdout(where: str, test: str | None, holdout: float | None) -> None:
    """Check that the dataset `where` has a test set, named `test`, or is given a holdout, and not both.

    Raises:
        InvalidValue: both. InvalidFile: neither.
    """
    if test is not None and holdout is not None:
        raise InvalidValue(f"{where} has a test set, {test}; a holdout is for datasets without one", parameter="holdout")
    if test is None and holdout is None:
        raise InvalidFile(
            f"{where} has no train and test sets (folders train/ and test/ or val/); say which fraction of each class "
            "becomes the test set, for example 0.1",
            parameter="holdout",
        )


def _list_images(
    root: Path, folder: Path, excluded_dir: Path | None, allow_empty: bool
) -> tuple[tuple[str, ...], ImageFiles]:
    notes = FolderNotes()
    classes = list_classes(folder, None if excluded_dir is None else excluded_dir.resolve(), notes)
    if not classes:
        loose = f" (its {notes.loose:,} images lie in none)" if notes.loose else ""
        raise InvalidFile(f"folder {folder} holds no class folders; it needs one folder of images for each class{loose}")
    paths = [
        [os.path.relpath(path, root).replace(os.sep, "/") for path in walk_images(folder / name, notes)] for name in classes
    ]
    notes.announce(folder)
    empty = [name for name, class_paths in zip(classes, paths, strict=True) if not class_paths]
    known = f"(known: {', '.join(IMAGE_SUFFIXES)})"
    if len(empty) == len(classes):
        raise InvalidFile(f"folder {folder} holds no images in its class folders {known}")
    if empty and not allow_empty:
        raise InvalidFile(
            f"class folder {folder / empty[0]} holds no images ({len(empty):,} such); fill, remove or allow it {known}",
            parameter="allow_empty_classes",
        )
    all_paths = tuple(path for class_paths in paths for path in class_paths)
    for name in (*classes, *all_paths):  # names are written to text files, one a line
        check_utf8(name, f"folder {folder}: the name")
        if len(name.splitlines()) != 1:
            raise InvalidFile(f"folder {folder}: the name {name!a} has a line break; rename it")
    labels = np.repeat(np.arange(len(classes)), [len(class_paths) for class_paths in paths])
    return tuple(classes), files_at(root, all_paths, labels.astype(np.int64))


def split_holdout(names: Sequence[str], labels: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Choose the test samples: the `fraction` of each class whose names have the smallest hashes.

    So nearly all samples stay in their split when images are added or removed. At least one image of each class is kept
    for training.

    Returns:
        bool [n]: True for test samples.

    Raises:
        InvalidValue: a fraction so small that no sample is chosen.
    """
    is_test = np.zeros(len(names), np.bool_)
    order = np.array([int(config_hash({"held out": name}, 12), 16) for name in names])
    for label in np.unique(labels):
        ids = np.flatnonzero(labels == label)
        count = min(int(fraction * len(ids) + 0.5), len(ids) - 1)
        is_test[ids[np.argsort(order[ids], kind="stable")[:count]]] = True
    if not is_test.any():
        raise InvalidValue(
            f"a fraction {fraction} of the classes of this dataset is not one image; hold out more", parameter="holdout"
        )
    return is_test
