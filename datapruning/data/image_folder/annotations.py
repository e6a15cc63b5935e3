"""A test set as Tiny-ImageNet is published: images of all classes in one folder, and a list of their classes beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datapruning.data.image_folder.image_files import ImageFiles, files_at
from datapruning.errors import InvalidFile, first_line
from datapruning.io.text import read_text
from datapruning.utils.console import info

IMAGES = "images"
MAX_LIST_BYTES = 1 << 28


def find_annotations(folders: Sequence[Path]) -> Path | None:
    """The list of classes (val/val_annotations.txt) of the first of these folders that has one, and val/images."""
    lists = [folder / f"{folder.name}_annotations.txt" for folder in folders]
    return next((path for path in lists if path.is_file() and (path.parent / IMAGES).is_dir()), None)


def annotated_images(root: Path, annotations: Path, classes: Sequence[str]) -> ImageFiles:
    """The images that a list names, in the order that class folders would have: by class, then by name.

    Args:
        root: the dataset's folder.
        annotations: a line an image: its name in the folder images/ beside, a tab, its class; more columns are not read.
        classes: names of the classes, sorted.

    Raises:
        InvalidFile: a line without a class, a class that is not in `classes`, an image that is not there, or no image.
    """
    try:
        lines = read_text(annotations, MAX_LIST_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{annotations} cannot be read: {first_line(error)}") from None
    numbers, labels = {name: number for number, name in enumerate(classes)}, dict[str, int]()
    for number, line in enumerate(lines, 1):
        if line.strip():
            name, label = _read_line(line, f"{annotations}, line {number}", numbers)
            if not (annotations.parent / IMAGES / name).is_file():
                raise InvalidFile(f"{annotations}, line {number}: {annotations.parent / IMAGES / name} is not there")
            labels[name] = label
    if not labels:
        raise InvalidFile(f"{annotations} names no image")
    names = sorted(labels, key=lambda name: (labels[name], name))
    info(f"{annotations.parent}: {len(names):,} images, whose classes {annotations.name} names")
    folder = (annotations.parent / IMAGES).relative_to(root).as_posix()
    return files_at(root, tuple(f"{folder}/{name}" for name in names), np.array([labels[name] for name in names], np.int64))


def _read_line(line: str, where: str, numbers: Mapping[str, int]) -> tuple[str, int]:
    name, tab, rest = line.partition("\t")
    label = rest.partition("\t")[0].strip()
    if not tab or not name or "/" in name or "\\" in name or name in (".", ".."):
        raise InvalidFile(f"{where}: the name of an image, a tab and its class are needed")
    if label not in numbers:
        raise InvalidFile(f"{where}: class '{label[:100]}' is no folder of the training set")
    return name, numbers[label]
