"""Folders of class folders: which pictures are there, in which order, and of which class. Nothing is opened here.

The rule is that of torchvision's `ImageFolder`: classes are the folders at the top, sorted by name character by
character ("10" comes before "9"); every picture below one, however deep, is of that class; pictures are sorted by
their folder, then by name. So a sample id is the position in `ImageFolder("FOLDER/train")`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidFile, InvalidValue
from datapruning.utils.hashing import config_hash

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",  # ImageFolder's
    ".avif", ".gif", ".jfif", ".jp2", ".jpe", ".pbm", ".pcx", ".pnm", ".tga",
)  # fmt: skip
MAX_PATHS_TO_FOLDER = 8
TEST_FOLDERS = ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class ImageListing:
    """The pictures of one split.

    Attributes:
        paths: relative to the dataset's folder, with "/"; position is the sample id.
        labels: int64 [n].
    """

    paths: tuple[str, ...]
    labels: NDArray[np.int64]

    def subset(self, chosen: NDArray[np.int64]) -> ImageListing:
        """Those at the positions `chosen`."""
        return ImageListing(tuple(self.paths[i] for i in chosen.tolist()), self.labels[chosen])


def scan_image_folder(
    root: Path, holdout: float | None, excluded_dir: Path | None = None
) -> tuple[tuple[str, ...], ImageListing, ImageListing]:
    """(class names, training pictures, test pictures) of a folder.

    Args:
        root: a folder with train/ and test/ (or val/) in it; or with class folders, in train/ or in itself.
        holdout: for the latter, the share of each class that becomes the test set.
        excluded_dir: a folder that is no class, wherever it lies: the workspace.

    Raises:
        InvalidFile: not there, no pictures, an empty class folder, splits with different classes, or an impossible name.
        InvalidValue: `holdout` where there is a test folder.
    """
    if not root.is_dir():
        raise InvalidFile(f"folder {root} is not there")
    train = root / "train"
    test = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None) if train.is_dir() else None
    if test is None:
        within = train if train.is_dir() else root
        if holdout is None:
            raise InvalidFile(
                f"folder {root} has no train/ and test/ (or val/); if {within} holds the class folders, say with "
                "--holdout 0.1 which share of them is the test set"
            )
        classes, both = _list_images(root, within, excluded_dir)
        held = split_holdout(both.paths, both.labels, holdout)
        return classes, both.subset(np.flatnonzero(~held)), both.subset(np.flatnonzero(held))
    if holdout is not None:
        raise InvalidValue(f"folder {root} has a test set, {test.name}/; --holdout is for folders without one")
    classes, learnt = _list_images(root, train, excluded_dir)
    others, asked = _list_images(root, test, excluded_dir)
    if classes != others:
        words = [
            f"{where} alone has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            for where, names in (
                (train.name, [c for c in classes if c not in others]),
                (test.name, [c for c in others if c not in classes]),
            )
            if names
        ]
        raise InvalidFile(f"folder {root}: train and test have different classes: {'; '.join(words)}")
    return classes, learnt, asked


def _list_images(root: Path, folder: Path, excluded_dir: Path | None) -> tuple[tuple[str, ...], ImageListing]:
    found = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    classes = sorted(name for name in found if excluded_dir is None or (folder / name).resolve() != excluded_dir.resolve())
    if not classes:
        raise InvalidFile(f"folder {folder} holds no class folders; it needs one folder of pictures for each class")
    paths: list[str] = []
    counts = []
    for name in classes:
        below = [path for place, files in sorted(_walk(folder / name)) for path in _named(place, files)]
        paths += [os.path.relpath(path, root).replace(os.sep, "/") for path in below]
        counts.append(len(below))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if len(empty) == len(classes):
        raise InvalidFile(f"folder {folder} holds no pictures in its class folders (known: {', '.join(IMAGE_SUFFIXES)})")
    if empty:
        raise InvalidFile(
            f"class folder {folder / empty[0]} holds no pictures ({len(empty):,} such); fill it or remove it "
            f"(known: {', '.join(IMAGE_SUFFIXES)})"
        )
    _check_names(folder, [*classes, *paths])
    return tuple(classes), ImageListing(tuple(paths), np.repeat(np.arange(len(classes)), counts).astype(np.int64))


def _walk(top: Path) -> list[tuple[str, list[str]]]:
    """(folder, files) of `top` and below. Links are followed, but not in circles; hidden folders are left out.

    Raises:
        InvalidFile: symbolic links lead to one folder in more ways than `MAX_PATHS_TO_FOLDER`.
    """
    found = []
    ways: Counter[tuple[int, int]] = Counter()
    for place, folders, files in os.walk(top, followlinks=True):
        about = os.stat(place)
        ways[about.st_dev, about.st_ino] += 1
        if ways[about.st_dev, about.st_ino] > MAX_PATHS_TO_FOLDER:
            raise InvalidFile(f"class folder {top} leads to {os.path.realpath(place)} in many ways; remove links from it")
        folders[:] = [f for f in folders if not f.startswith(".") and not _is_symlink_loop(os.path.join(place, f))]
        found.append((place, files))
    return found


def _is_symlink_loop(folder: str) -> bool:
    if not os.path.islink(folder):
        return False
    real = os.path.realpath(folder)
    return os.path.commonpath([real, os.path.realpath(os.path.dirname(folder))]) == real


def _named(place: str, files: Sequence[str]) -> list[str]:
    """The pictures among `files`, sorted; hidden files (macOS leaves "._x.jpg") are none."""
    chosen = sorted(f for f in files if f.lower().endswith(IMAGE_SUFFIXES) and not f.startswith("."))
    return [os.path.join(place, f) for f in chosen]


def _check_names(folder: Path, names: Sequence[str]) -> None:
    """Names are written to text files, one a line."""
    for name in names:
        if len(name.splitlines()) != 1 or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise InvalidFile(f"folder {folder}: the name {name!a} has a line break or is no UTF-8; rename it")


def split_holdout(names: Sequence[str], labels: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Bool [n]: the `share` of each class whose names have the smallest hashes; of a class, one picture at least stays.

    So the others stay where they are when pictures are added or taken away, all but a few.

    Raises:
        InvalidValue: a share of which nothing comes.
    """
    held = np.zeros(len(names), np.bool_)
    order = np.array([int(config_hash({"held out": name}, 12), 16) for name in names])
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(int(share * len(members) + 0.5), len(members) - 1)
        held[members[np.argsort(order[members], kind="stable")[:count]]] = True
    if not held.any():
        raise InvalidValue(f"--holdout {share} of the classes of this folder is no picture at all; hold more out")
    return held
