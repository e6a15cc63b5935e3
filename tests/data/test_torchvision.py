"""torchvision's datasets from small files in their formats: arrays, labels and class names."""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from datapruning.data.registry import SOURCES, open_dataset
from datapruning.data.torchvision_sets import ARRAY_SETS, IMAGE_FILE_SETS
from datapruning.errors import InvalidFile, InvalidValue
from tests.helpers.image_files import write_image

COUNT = {"train": 6, "test": 4}


def made(role: str, side: int, channels: int | None = None) -> NDArray[np.uint8]:
    """uint8 [n, side, side] or [n, side, side, channels]."""
    shape = (COUNT[role], side, side) + (() if channels is None else (channels,))
    return np.random.default_rng(len(role)).integers(0, 256, shape).astype(np.uint8)


def write_idx(path: Path, values: NDArray[Any]) -> None:
    """Encode an array in the format of MNIST's files."""
    kind = {np.dtype(np.uint8): 8, np.dtype(">i4"): 12}[values.dtype]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes((0, 0, kind, values.ndim)) + np.array(values.shape, ">i4").tobytes() + values.tobytes())


def write_mnist(root: Path, kind: str) -> None:
    for role, prefix in (("train", "train"), ("test", "t10k")):
        write_idx(root / kind / "raw" / f"{prefix}-images-idx3-ubyte", made(role, 28))
        write_idx(root / kind / "raw" / f"{prefix}-labels-idx1-ubyte", np.arange(COUNT[role], dtype=np.uint8))


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("kmnist", "KMNIST"), ("fashion-mnist", "FashionMNIST")])
def test_sets_in_the_format_of_mnist(tmp_path: Path, name: str, kind: str) -> None:
    write_mnist(tmp_path, kind)
    data = open_dataset(name, root=tmp_path)
    assert (data.name, data.total, data.classes) == (name, 6, 10)
    for role in COUNT:
        np.testing.assert_array_equal(data.split(role).images[..., 0], made(role, 28))
        assert data.split(role).labels.tolist() == list(range(COUNT[role]))


@pytest.mark.parametrize(("part", "first", "classes"), [("letters", 1, 26), ("balanced", 0, 47), ("digits", 0, 10)])
def test_parts_of_emnist(tmp_path: Path, part: str, first: int, classes: int) -> None:
    for role in COUNT:
        files = tmp_path / "EMNIST" / "raw" / f"emnist-{part}-{role}"
        write_idx(Path(f"{files}-images-idx3-ubyte"), made(role, 28))
        write_idx(Path(f"{files}-labels-idx1-ubyte"), np.arange(COUNT[role], dtype=np.uint8) + np.uint8(first))
    data = open_dataset(f"emnist-{part}", root=tmp_path)
    assert data.classes == classes
    assert data.train.labels.tolist() == list(range(6))
    assert data.class_names[:2] == (("a", "b") if part == "letters" else ("0", "1"))
    np.testing.assert_array_equal(data.test.images[..., 0], made("test", 28))


def test_qmnist_takes_the_digit_of_its_eight_columns(tmp_path: Path) -> None:
    for role in COUNT:
        files = tmp_path / "QMNIST" / "raw" / f"qmnist-{role}"
        write_idx(Path(f"{files}-images-idx3-ubyte"), made(role, 28))
        columns = np.arange(COUNT[role])[:, None] + np.array([0, *range(100, 107)])
        write_idx(Path(f"{files}-labels-idx2-int"), columns.astype(">i4"))
    data = open_dataset("qmnist", root=tmp_path)
    assert data.train.labels.tolist() == list(range(6))
    assert data.train.shape == (28, 28, 1)


def test_usps_counts_from_zero(tmp_path: Path) -> None:
    for role, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        rows = made(role, 16).reshape(COUNT[role], -1) / 127.5 - 1
        lines = [f"{k + 1} " + " ".join(f"{i + 1}:{v:.6f}" for i, v in enumerate(row)) for k, row in enumerate(rows)]
        (tmp_path / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    data = open_dataset("usps", root=tmp_path)
    assert data.train.shape == (16, 16, 1)
    assert data.train.labels.tolist() == list(range(6))
    assert np.abs(data.train.images[..., 0].astype(int) - made("train", 16)).max() <= 1


def test_svhn_has_channels_last_and_zero_for_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat

    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda path, md5: Path(path).exists())
    for role in COUNT:
        labels = np.array([10, 1, 2, 3, 4, 5], np.uint8)[: COUNT[role], None]
        savemat(tmp_path / f"{role}_32x32.mat", {"X": made(role, 32, 3).transpose(1, 2, 3, 0), "y": labels})
    data = open_dataset("svhn", root=tmp_path)
    np.testing.assert_array_equal(data.train.images, made("train", 32, 3))
    assert data.train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.class_names == tuple("0123456789")
    assert data.train.images.flags.c_contiguous


def test_stl10_is_its_labelled_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", lambda path, md5: True)
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for role in COUNT:
        made(role, 96, 3).transpose(0, 3, 2, 1).tofile(folder / f"{role}_X.bin")
        (np.arange(COUNT[role], dtype=np.uint8) + np.uint8(1)).tofile(folder / f"{role}_y.bin")
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    data = open_dataset("stl10", root=tmp_path)
    np.testing.assert_array_equal(data.train.images, made("train", 96, 3))
    assert data.train.labels.tolist() == list(range(6))
    assert data.class_names == tuple("abcdefghij")


@pytest.mark.parametrize("name", sorted(ARRAY_SETS))
def test_a_missing_dataset_is_refused(tmp_path: Path, name: str) -> None:
    assert name in SOURCES
    with pytest.raises(InvalidFile, match=f"{name} is not under .*name the folder that holds it") as error_info:
        open_dataset(name, root=tmp_path)
    assert "\n" not in str(error_info.value)


def write_dtd(root: Path) -> None:
    """DTD: lists of "class/name" and image files."""
    for role in COUNT:
        lines = []
        for row in range(COUNT[role]):
            name = f"{'ab'[row % 2]}/{role}{row}.jpg"
            write_image(root / "dtd/dtd/images" / name, (200, 10 * row, 0), (20 + row, 20))
            lines.append(name)
        (root / "dtd/dtd/labels").mkdir(exist_ok=True)
        (root / f"dtd/dtd/labels/{role}1.txt").write_text("\n".join(lines))


def write_gtsrb(root: Path) -> None:
    """GTSRB: class folders for training, a table for testing."""
    for row in range(COUNT["train"]):
        write_image(root / f"gtsrb/GTSRB/Training/{row % 2:05}/{row}.ppm", (200, 10 * row, 0), (20 + row, 20))
    lines = ["Filename;ClassId"]
    for row in range(COUNT["test"]):
        write_image(root / f"gtsrb/GTSRB/Final_Test/Images/{row:05}.ppm", (200, 10 * row, 0))
        lines.append(f"{row:05}.ppm;{row % 2}")
    (root / "gtsrb/GT-final_test.csv").write_text("\n".join(lines))


def write_food101(root: Path) -> None:
    """Food-101: a JSON file of lists for each split."""
    for role in COUNT:
        listed: dict[str, list[str]] = {"pie": [], "soup": []}
        for row in range(COUNT[role]):
            name = ("pie", "soup")[row % 2]
            write_image(root / f"food-101/images/{name}/{role}{row}.jpg", (200, 10 * row, 0), (20 + row, 20))
            listed[name].append(f"{name}/{role}{row}")
        (root / "food-101/meta").mkdir(exist_ok=True)
        (root / f"food-101/meta/{role}.json").write_text(json.dumps(listed))


def write_pets(root: Path) -> None:
    """Oxford-IIIT Pet: a line of name, class, species and number for each image."""
    for role, split in (("train", "trainval"), ("test", "test")):
        lines = []
        for row in range(COUNT[role]):
            name = f"{('big_cat', 'Dog')[row % 2]}_{role}{row}"
            write_image(root / f"oxford-iiit-pet/images/{name}.jpg", (200, 10 * row, 0), (20 + row, 20))
            lines.append(f"{name} {row % 2 + 1} 1 1")
        (root / "oxford-iiit-pet/annotations").mkdir(exist_ok=True)
        (root / f"oxford-iiit-pet/annotations/{split}.txt").write_text("\n".join(lines))


def write_aircraft(root: Path) -> None:
    """FGVC-Aircraft: a file of class names, and lines of image and class."""
    folder = root / "fgvc-aircraft-2013b/data"
    for role, split in (("train", "trainval"), ("test", "test")):
        lines = []
        for row in range(COUNT[role]):
            write_image(folder / f"images/{role}{row}.jpg", (200, 10 * row, 0), (20 + row, 20))
            lines.append(f"{role}{row} {('Boeing 707', 'DH-82')[row % 2]}")
        (folder / f"images_variant_{split}.txt").write_text("\n".join(lines))
    (folder / "variants.txt").write_text("Boeing 707\nDH-82\n")


def write_flowers(root: Path) -> None:
    """Flowers102: tables of numbers."""
    from scipy.io import savemat

    numbers = {"train": np.arange(1, 7), "test": np.arange(7, 11)}
    for number in range(1, 11):
        row = (number - 1) % 6
        write_image(root / f"flowers-102/jpg/image_{number:05}.jpg", (200, 10 * row, 0), (20 + row, 20))
    savemat(root / "flowers-102/setid.mat", {"trnid": numbers["train"], "tstid": numbers["test"], "valid": [1]})
    savemat(root / "flowers-102/imagelabels.mat", {"labels": np.array([1, 2] * 5)})


WRITERS = {
    "dtd": (write_dtd, ("a", "b")), "gtsrb": (write_gtsrb, ("0", "1")), "food101": (write_food101, ("pie", "soup")),
    "oxford-iiit-pet": (write_pets, ("Big Cat", "Dog")), "fgvc-aircraft": (write_aircraft, ("Boeing 707", "DH-82")),
    "flowers102": (write_flowers, None),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(IMAGE_FILE_SETS))
def test_sets_of_image_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("torchvision.datasets.flowers102.check_integrity", lambda path, md5: Path(path).exists())
    write, classes = WRITERS[name]
    write(tmp_path / "data")
    data = open_dataset(name, root=tmp_path / "data", image_size=8, workspace=tmp_path / "runs")
    assert (data.name, data.total, len(data.test), data.train.shape) == (name, 6, 4, (8, 8, 3))
    assert data.source == f"{name}?image-size=8"
    if classes is not None:
        assert data.class_names == classes
    for split, paths in ((data.train, data.train_paths), (data.test, data.test_paths)):
        rows = np.round(split.images[:, 4, 4, 1] / 10).astype(int)  # the green value of each image is its row
        assert sorted(rows.tolist()) == list(range(len(split)))
        np.testing.assert_array_equal(split.labels, rows % 2)
        assert all((tmp_path / "data" / path).is_file() for path in paths or ("none",))
    repeated = open_dataset(data.source, root=tmp_path / "data", workspace=tmp_path / "runs")
    assert repeated.fingerprint == data.fingerprint


@pytest.mark.parametrize("name", sorted(IMAGE_FILE_SETS))
def test_a_missing_dataset_of_image_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidFile, match=f"{name} is not under .*name the folder that holds it"):
        open_dataset(name, root=tmp_path)
    with pytest.raises(InvalidValue, match="has a test set"):
        open_dataset(name, root=tmp_path, holdout=0.1)
