"""Datasets made of picture files: a folder, or a Hugging Face dataset on disk; decoded once, then arrays like any other."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import DEFAULT_SIZE, Place
from datapruning.data.image_folder.decode import RULE
from datapruning.data.image_folder.decode_cache import Decoded, Pictures, decode_splits, picture_bytes, pictures_folder
from datapruning.data.image_folder.image_format import Form
from datapruning.data.image_folder.scan import Found, scan
from datapruning.data.image_folder.stored import Chosen
from datapruning.errors import InvalidFile


def open_folder(place: Place, cache: Path) -> Dataset:
    """A folder of pictures (see `datapruning.data.image_folder.scan.scan`).

    Raises:
        InvalidFile, InvalidValue: as `scan` and `datapruning.data.image_folder.decode_cache.decode_splits`.
    """
    root = Path(place.name).expanduser()
    classes, train, test = scan(root, place.holdout, cache.parent)
    splits = {"train": files_of(root, train), "test": files_of(root, test)}
    whole = root.resolve()
    return decoded_dataset(whole.name, f"folder {root}", replace(place, name=str(whole)), classes, splits, cache)


def decoded_dataset(
    name: str, where: str, place: Place, classes: tuple[str, ...], splits: dict[str, Pictures], cache: Path
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
    form = Form(size, place.quality)
    folder = pictures_folder(name, form, splits, cache)
    found = decode_splits(where, splits, form, folder, skip_unreadable=place.skip_unreadable)
    train, test = splits["train"], splits["test"]
    for role, decoded in found.items():
        if len(decoded.unreadable) == len(decoded.images):
            raise InvalidFile(f"{where}: not one picture of the {role} set can be read")
    good = np.delete(np.arange(len(test.names)), found["test"].unreadable)
    images: Any = found["test"].images
    if len(good) < len(test.names):
        images = Chosen(images, good)
    return Dataset(
        name,
        Split(found["train"].images, train.labels),
        Split(images, test.labels[good]),
        classes,
        str(replace(place, size=size)),
        stored=_stored(found, form),
        train_paths=train.names if train.are_paths else None,
        test_paths=tuple(test.names[i] for i in good.tolist()) if test.are_paths else None,
        unreadable=found["train"].unreadable,
        channel_sums=found["train"].sums,
    )


def files_of(root: Path, found: Found) -> Pictures:
    """The files of a split. As for `make`, a file has changed where its size or its time of change has."""
    state = hashlib.sha256(str(root.resolve()).encode())
    for path in found.paths:
        try:
            about = (root / path).stat()
        except OSError:
            state.update(f"{path}\0not there\n".encode())  # a link that leads nowhere: found when it is read
        else:
            state.update(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return Pictures(found.paths, found.labels, lambda i: picture_bytes(root / found.paths[i]), state.hexdigest())


def _stored(found: dict[str, Decoded], form: Form) -> str:
    parts = [RULE, str(form.size), *form.words, *(found[role].stored for role in ("train", "test"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
