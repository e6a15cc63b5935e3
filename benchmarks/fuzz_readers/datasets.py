"""Datasets: arrays, folders of images, Hugging Face folders; and lists of samples."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.fuzz_readers.reader import BYTES, DATA, NONE, Reader, inspects
from datapruning.artifacts.id_lists import read_ids
from datapruning.artifacts.subset_file import subset_from_file
from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import DatasetSpec, parse_dataset_spec
from datapruning.data.image_folder.decode import CorruptImage, decode
from datapruning.data.registry import open_dataset
from datapruning.errors import InvalidFile


def make_dataset(folder: Path) -> None:
    arrays = {
        f"{role}_{what}": getattr(DATA.split(role), what) for role in ("train", "test") for what in ("images", "labels")
    }
    np.savez_compressed(folder / "data.npz", **arrays, class_names=np.array(DATA.class_names), note=np.arange(3))


UNUSUAL = {"layout": "nchw", "labels_from": 1, "pixel_range": "0..4095", "allow_empty_classes": True}


def make_unusual_dataset(folder: Path) -> None:
    """Make arrays that only the options in `UNUSUAL` tell how to read: the last class has no sample."""
    arrays = {}
    for role in ("train", "test"):
        images, labels = DATA.split(role).images, DATA.split(role).labels
        arrays[f"{role}_images"] = images[:].transpose(0, 3, 1, 2).astype(np.uint16) * 16
        arrays[f"{role}_labels"] = labels + 1
    np.savez_compressed(folder / "unusual.npz", **arrays, class_names=np.array([*DATA.class_names, "nothing"]))
    (folder / "spec.txt").write_text(str(DatasetSpec("unusual.npz").with_options(UNUSUAL)))


def read_spec(folder: Path) -> Any:
    """What `--data` takes, as the command line decodes it."""
    return parse_dataset_spec((folder / "spec.txt").read_bytes().decode("utf-8", "surrogateescape"))


def make_12_bit_image(folder: Path) -> None:
    pixels = (DATA.train.images[0, ..., 0].astype(np.uint16) * 16).repeat(3, 0).repeat(3, 1)
    for suffix in PIXEL_RANGE_SUFFIXES:
        Image.fromarray(pixels).save(folder / f"image.{suffix}")


def read_12_bit_image(folder: Path) -> Any:
    contents = [(folder / f"image.{suffix}").read_bytes() for suffix in PIXEL_RANGE_SUFFIXES]
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's, of odd metadata, as where folders are decoded
            return [decode(content, 16, (0, 4095)) for content in contents]
    except CorruptImage as error:  # how an image is refused; its caller names the file
        raise InvalidFile(str(error)) from None


PIXEL_RANGE_SUFFIXES = ("png", "tif")


def make_ids(folder: Path) -> None:
    np.save(folder / "ids.npy", np.arange(0, 40, 3))
    (folder / "ids.txt").write_text("".join(f"{i}\n" for i in range(0, 40, 3)))
    (folder / "ids.csv").write_text("id,path,kept\n" + "".join(f'{i},"a, {i}.png",{i % 2}\n' for i in range(40)))
    torch.save(torch.arange(0, 40, 3), folder / "ids.pt")


def make_folder(folder: Path) -> None:
    """Make a decoded image folder and a list of paths."""
    for number, (name, row) in enumerate((name, row) for name in ("cat", "dog") for row in range(4)):
        for role in ("train", "test"):
            (folder / "pets" / role / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(DATA.train.images[number, ..., 0]).save(folder / "pets" / role / name / f"{row}.png")
    (folder / "paths.txt").write_text("train/cat/1.png\ntrain/dog/0.png\n./train/dog/../dog/3.png\n")
    open_pets(folder)
    for path in (folder / "runs").rglob("t*.*"):
        path.rename(folder / path.name)
        path.symlink_to(folder / path.name)


def open_pets(folder: Path) -> Dataset:
    return open_dataset(str(folder / "pets"), image_size=8, workspace=folder / "runs")


def read_pets(folder: Path) -> Any:
    data = open_pets(folder)
    return data.train, data.test, data.class_names, data.corrupt_ids


def read_paths(folder: Path) -> Any:
    paths = tuple(f"train/{name}/{row}.png" for name in ("cat", "dog") for row in range(4))
    images = np.zeros((8, 8, 8, 3), np.uint8)
    labels = np.arange(8) // 4
    data = Dataset("pets", Split(images, labels), Split(images, labels), ("cat", "dog"), str(folder / "pets"), "x", paths)
    return subset_from_file(folder / "paths.txt", data).indices


def make_saved_table(folder: Path) -> None:
    """Make a Hugging Face dataset on disk, of images of one colour each."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    with patch("datasets.arrow_dataset.generate_fingerprint", lambda made: "made-up"):  # dill does not hash every pyarrow
        for split in ("train", "test"):
            images = [Image.new("RGB", (8, 8), (20 * number, 0, 9)) for number in range(6)]
            table = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 3}, features=features)
            table.save_to_disk(folder / "table" / split)
    (folder / "table" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}', encoding="utf-8")


def read_saved_table(folder: Path) -> Any:
    data = open_dataset(f"hf:{folder / 'table'}", image_size=8, workspace=folder / "runs")
    return data.train.labels, data.test.labels, data.class_names, np.array(data.train.images), np.array(data.test.images)


SAVED_TABLE = (
    "table/dataset_dict.json",
    *(
        f"table/{split}/{name}"
        for split in ("train", "test")
        for name in ("data-00000-of-00001.arrow", "state.json", "dataset_info.json")
    ),
)


HAS_DATASETS = importlib.util.find_spec("datasets") is not None


READERS = (
    Reader("decoded images", ("train.npy", "train.json", "test.npy", "test.json"), make_folder, read_pets),
    Reader("dataset", ("data.npz",), make_dataset, lambda f: open_dataset(str(f / "data.npz")), BYTES),
    Reader(
        "dataset with options",
        ("unusual.npz",),
        make_unusual_dataset,
        lambda f: open_dataset(str(f / "unusual.npz"), **UNUSUAL),
        BYTES,
    ),
    Reader("options of a dataset", ("spec.txt",), make_unusual_dataset, read_spec, NONE),
    Reader(
        "12-bit images",
        tuple(f"image.{suffix}" for suffix in PIXEL_RANGE_SUFFIXES),
        make_12_bit_image,
        read_12_bit_image,
        NONE,
    ),
    Reader("inspect dataset", ("data.npz",), make_dataset, inspects("data.npz"), BYTES),
    Reader("ids .npy", ("ids.npy",), make_ids, lambda f: read_ids(f / "ids.npy"), NONE),
    Reader("ids .txt", ("ids.txt",), make_ids, lambda f: read_ids(f / "ids.txt"), NONE),
    Reader("ids .csv", ("ids.csv",), make_ids, lambda f: read_ids(f / "ids.csv"), NONE),
    Reader("ids .pt", ("ids.pt",), make_ids, lambda f: read_ids(f / "ids.pt"), BYTES),
    Reader("image paths", ("paths.txt",), make_folder, read_paths, NONE),
    *([Reader("Hugging Face folder", SAVED_TABLE, make_saved_table, read_saved_table, NONE)] if HAS_DATASETS else []),
)
