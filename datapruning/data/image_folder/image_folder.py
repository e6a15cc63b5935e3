"""Datasets made of image files, which are decoded once; a folder of class folders is one."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import DEFAULT_SIZE, DatasetSpec
from datapruning.data.image_folder.decode import RULE
from datapruning.data.image_folder.decode_cache import decode_splits, decoded_folder, find_decoded
from datapruning.data.image_folder.image_files import ImageFiles
from datapruning.data.image_folder.scan import scan_image_folder
from datapruning.data.image_folder.stored_images import ImageFormat, ImageSubset
from datapruning.errors import InvalidFile
from datapruning.utils.names import expand_user


def open_folder(spec: DatasetSpec, caches: Sequence[Path]) -> Dataset:
    """Open a folder of class folders (see `scan_image_folder`); `caches` as in `decoded_dataset`.

    Raises:
        InvalidFile, InvalidValue: as `scan_image_folder` and `decoded_dataset`.
    """
    root = expand_user(spec.name)
    classes, train, test = scan_image_folder(root, spec.holdout, caches[0].parent, spec.allow_empty_classes)
    path, splits = root.resolve(), {"train": train, "test": test}
    return decoded_dataset(path.name, f"folder {root}", replace(spec, name=str(path)), classes, splits, caches)


def decoded_dataset(
    name: str, where: str, spec: DatasetSpec, classes: tuple[str, ...], splits: dict[str, ImageFiles], caches: Sequence[Path]
) -> Dataset:
    """The dataset of decoded splits ("train", "test").

    Corrupt training images keep their ids; corrupt test images are left out. `where` names the dataset in messages, `spec`
    opens it again, `classes` are the names by label, `caches` are the folders of caches: images that
    none of them has are decoded into the first, which is one's own.

    Raises:
        InvalidFile: as `decode_splits`, and if no image of a split can be decoded.
    """
    size, name = spec.image_size or DEFAULT_SIZE, name or "images"
    form = ImageFormat(size, spec.quality, spec.pixel_bounds)
    folder = find_decoded([decoded_folder(name, form, splits, cache) for cache in caches], splits)
    decoded = decode_splits(where, splits, form, folder, skip_unreadable=spec.skip_unreadable)
    for role, split in decoded.items():
        if len(split.manifest.corrupt) == len(split.images):
            raise InvalidFile(f"{where}: not one image of the {role} set can be read")
    (train, test), train_manifest = (splits["train"], splits["test"]), decoded["train"].manifest
    valid = np.delete(np.arange(len(test.names)), decoded["test"].manifest.corrupt_ids)
    test_images = decoded["test"].images
    if len(valid) < len(test.names):
        test_images = ImageSubset(test_images, valid)
    hashes = [decoded[role].manifest.content_hash for role in ("train", "test")]
    return Dataset(
        name,
        Split(decoded["train"].images, train.labels),
        Split(test_images, test.labels[valid]),
        classes,
        str(replace(spec, image_size=size, image_format=None if spec.quality is None else spec.image_format)),
        content_hash=hashlib.sha256("\0".join([RULE, str(size), *form.suffix, *hashes]).encode()).hexdigest(),
        train_paths=train.names if train.are_paths else None,
        test_paths=tuple(test.names[i] for i in valid.tolist()) if test.are_paths else None,
        corrupt_ids=train_manifest.corrupt_ids,
        pixel_sums=train_manifest.pixel_sums,
    )
