"""Dataset sources: names and files to datasets; missing or broken ones are reported in one line."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datapruning as dp
from datapruning.data.dataset import Dataset, Split
from datapruning.data.registry import ROOT_VARIABLE, open_dataset
from datapruning.errors import InvalidFile, UnknownName, UserError
from tests.helpers.image_files import write_image

REAL = os.environ.get(ROOT_VARIABLE)  # read here, because the suite hides it from the tests


def arrays(count: int = 12, channels: int | None = 3, **changes: Any) -> dict[str, Any]:
    """Return the arrays of a valid `.npz` with changes; None leaves an array out."""
    rng = np.random.default_rng(0)
    axis = () if channels is None else (channels,)
    npz_arrays: dict[str, Any] = {}
    for role, size in (("train", count), ("test", count // 2)):
        npz_arrays[f"{role}_images"] = rng.integers(0, 256, (size, 5, 4, *axis)).astype(np.uint8)
        npz_arrays[f"{role}_labels"] = np.arange(size) % 3
    npz_arrays.update(changes)
    return {name: value for name, value in npz_arrays.items() if value is not None}


def saved(folder: Path, **content: Any) -> Path:
    np.savez(folder / "data.npz", **content)
    return folder / "data.npz"


def test_digits_are_complete_and_every_fifth_is_a_test_sample(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    assert (digits.total, len(digits.test), digits.classes) == (1438, 359, 10)
    assert digits.train.shape == (8, 8, 1)
    np.testing.assert_array_equal(digits.test.labels, bunch.target[4::5])
    np.testing.assert_array_equal(digits.train.labels[:5], bunch.target[[0, 1, 2, 3, 5]])
    np.testing.assert_array_equal(digits.test.images[..., 0], np.round(bunch.images[4::5] * 255 / 16))
    assert digits.class_names == tuple("0123456789")
    assert open_dataset().fingerprint == digits.fingerprint


def test_an_npz_opens_as_a_dataset(tmp_path: Path) -> None:
    content = arrays(class_names=np.array(["cat", "dog", "emu"]))
    data = open_dataset(str(saved(tmp_path, **content)))
    assert data.name == "data"
    assert data.class_names == ("cat", "dog", "emu")
    for role in ("train", "test"):
        np.testing.assert_array_equal(data.split(role).images, content[f"{role}_images"])
        np.testing.assert_array_equal(data.split(role).labels, content[f"{role}_labels"])


def test_the_fingerprint_does_not_depend_on_the_source(digits: Dataset, tmp_path: Path) -> None:
    content = {
        f"{role}_{part}": getattr(digits.split(role), part) for role in ("train", "test") for part in ("images", "labels")
    }
    assert open_dataset(str(saved(tmp_path, **content))).fingerprint == digits.fingerprint
    np.savez_compressed(tmp_path / "packed.npz", **content)
    assert open_dataset(str(tmp_path / "packed.npz")).fingerprint == digits.fingerprint


def test_grey_images_need_no_channel_axis_and_classes_no_names(tmp_path: Path) -> None:
    data = open_dataset(str(saved(tmp_path, **arrays(channels=None))))
    assert data.train.shape == (5, 4, 1)
    assert data.class_names == ("0", "1", "2")


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type_are_labels(tmp_path: Path, kind: type) -> None:
    data = open_dataset(str(saved(tmp_path, **arrays(train_labels=(np.arange(12) % 3).astype(kind)))))
    assert data.train.labels.dtype == np.int64
    assert data.train.labels.tolist() == [0, 1, 2] * 4


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an array missing": (arrays(test_labels=None), "lacks test_labels"),
    "two missing": (arrays(train_images=None, test_images=None), "lacks train_images, test_images"),
    "objects": (arrays(train_labels=np.array([0, None] * 6, object)), "pickle is never opened"),
    "float images": (
        arrays(train_images=np.zeros((12, 5, 4, 3))),
        "train_images are float64 from 0 to 0, not uint8: give the values of black and white, probably 0..1",
    ),
    "float labels": (arrays(train_labels=np.zeros(12)), "train_labels are float64; whole numbers are needed"),
    "boolean labels": (arrays(train_labels=np.zeros(12, bool)), "train_labels are bool; whole numbers are needed"),
    "a negative label": (arrays(test_labels=np.array([0, 1, 2, 0, -1, 0])), "test split: label -1 is outside the 3 classes"),
    "a label without a name": (arrays(class_names=np.array(["a", "b"])), "label 2 is outside the 2 classes"),
    "too few labels": (arrays(train_labels=np.arange(11) % 3), r"labels are int64 \[11\] for 12 images"),
    "shapes that differ": (
        arrays(test_images=np.zeros((6, 4, 5, 3), np.uint8)),
        r"train images are \(5, 4, 3\), test images \(4, 5, 3\)",
    ),
    "flat images": (
        arrays(train_images=np.zeros((12, 60), np.uint8)),
        r"train_images are uint8 \[12, 60\]; uint8 \[n, height",
    ),
    "no samples": (
        arrays(train_images=np.zeros((0, 5, 4, 3), np.uint8), train_labels=np.zeros(0, int)),
        r"train_images are uint8 \[0, 5, 4, 3\]",
    ),
    "one image": (arrays(train_images=np.uint8(3)), r"train_images are uint8 \[\]"),
    "a class name of broken bytes": (arrays(class_names=np.array([b"a", b"b", b"\xff"])), "bytes that are not UTF-8"),
    "a class name of no characters": (
        arrays(class_names=np.array([0x61, 0x62, 0x110000], np.uint32).view("<U1")),
        "class_names are no text",
    ),
    "doubled class names": (arrays(class_names=np.array(["a", "b", "a"])), "two classes are called 'a'"),
    "doubled class names in bytes": (arrays(class_names=np.array([b"a", b"b", b"b"])), "two classes are called 'b'"),
    "other names of arrays": (
        {"x_train": np.zeros(3), "y_train": np.zeros(3)},
        "lacks train_images, .*test_labels; it has x_train, y_train",
    ),
    "names that are Python objects": (
        arrays(class_names=np.array([*"abc"], object)), "'class_names': it holds Python objects, which only pickle",
    ),
    "an empty class name": (arrays(class_names=np.array(["a", " ", "c"])), "the class name ' ' is empty or has"),
    "a class name of two lines": (arrays(class_names=np.array(["a", "b\nc", "d"])), r"class name 'b\\nc' is empty or has a"),
    "half a character": (arrays(class_names=np.array(["a", "b", "\ud800"])), r"class name '\\ud800' is not UTF-8"),
    "-1 as an unsigned label": (
        arrays(train_labels=np.array([2**64 - 1] * 12, np.uint64)), "a label is 18446744073709551615; labels are numbers",
    ),
    "samples last": (
        arrays(train_images=np.zeros((5, 4, 3, 12), np.uint8)), r"\[5, 4, 3, 12\] look as if the samples came last",
    ),
    "one number a class": (arrays(train_labels=np.eye(12, 3, dtype=int)), "one number a class; save their argmax"),
    "a label a pixel": (
        arrays(train_labels=np.zeros((12, 5, 4), int)),
        r"\[12, 5, 4\]; one number a sample",
    ),
    "labels without a column": (
        arrays(train_labels=np.zeros((12, 0), int)),
        r"\[12, 0\]; one number a sample",
    ),
    "pixels that are NaN": (arrays(train_images=np.full((12, 5, 4, 3), np.nan)), "NaN or infinite"),
    "names that are one word": (arrays(class_names=np.array("cat")), "class_names is not a list of names"),
}  # fmt: skip


@pytest.mark.parametrize("defect", WRONG)
def test_a_wrong_npz_is_refused_with_the_reason(tmp_path: Path, defect: str) -> None:
    content, message = WRONG[defect]
    with pytest.raises(InvalidFile, match=message) as error_info:
        open_dataset(str(saved(tmp_path, **content)))
    assert "\n" not in str(error_info.value)


IMAGES = arrays()["train_images"]


def changed(part: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """The images or labels of both splits, changed."""
    return {f"{role}_{part}": change(arrays()[f"{role}_{part}"]) for role in ("train", "test")}


READINGS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "channels first": (
        changed("images", lambda images: images.transpose(0, 3, 1, 2)),
        r"\[12, 3, 5, 4\] look as if the channels came first", {"layout": "nchw"},
    ),
    "floats in 0..1": (
        changed("images", lambda images: images / np.float32(255)),
        r"float32 from 0 to 1, not uint8: .* probably 0..1", {"pixel_range": "0..1"},
    ),
    "floats in -1..1": (
        changed("images", lambda images: images / 127.5 - 1),
        r"float64 from -1 to 1, not uint8: .* probably -1..1", {"pixel_range": "-1..1"},
    ),
    "12 bits in 16": (
        changed("images", lambda images: (images * 4095.0 / 255).round().astype(np.uint16)),
        r"uint16 from 0 to 4095, not uint8: .* probably 0..4095", {"pixel_range": "0..4095"},
    ),
    "16 bits": (
        changed("images", lambda images: images * np.uint16(257)), "probably 0..65535", {"pixel_range": "0..65535"},
    ),
    "bytes in int64": (
        changed("images", lambda images: images.astype(np.int64)),
        r"int64 from 0 to 255, not uint8: .* probably 0..255", {"pixel_range": "0..255"},
    ),
    "labels from 1": (
        changed("labels", lambda labels: labels + 1), r"the labels are 1..3, so there is no class 0", {"labels_from": 1},
    ),
    "labels from 5": (
        changed("labels", lambda labels: labels + 5),
        r"the labels are 5..7, so .* start from 5, or allow", {"labels_from": 5},
    ),
}  # fmt: skip
"""What people save in place of uint8 [n, height, width, channels] and labels from 0: (arrays, refusal, option)."""


@pytest.mark.parametrize("case", READINGS)
def test_what_can_be_read_in_several_ways_is_refused_with_the_option_that_says_it(tmp_path: Path, case: str) -> None:
    changes, refusal, options = READINGS[case]
    (option,) = options
    path = saved(tmp_path, **arrays(**{"class_names": np.array([*"abc"]), **changes}))
    with pytest.raises(InvalidFile, match=refusal) as error_info:
        open_dataset(str(path))
    assert error_info.value.parameter == option
    data = open_dataset(str(path), **options)
    np.testing.assert_array_equal(data.train.images, IMAGES)
    np.testing.assert_array_equal(data.test.images, arrays()["test_images"])
    assert data.train.labels.tolist() == [0, 1, 2] * 4
    assert data.class_names == ("a", "b", "c")
    assert data.spec == f"{path}?{option.replace('_', '-')}={options[option]}"
    assert open_dataset(data.spec).fingerprint == data.fingerprint
    other = open_dataset(str(saved(tmp_path, **arrays(class_names=np.array([*"abc"])))))
    assert other.fingerprint == data.fingerprint, "the same images and labels, saved as they should be"


def test_options_refuse_what_they_do_not_fit(tmp_path: Path) -> None:
    path = saved(tmp_path, **arrays(train_images=IMAGES / 127.5))
    with pytest.raises(InvalidFile, match=r"pixels reach from 0 to 2, outside 0..1") as error_info:
        open_dataset(str(path), pixel_range="0..1")
    assert error_info.value.parameter == "pixel_range"
    with pytest.raises(InvalidFile, match="label -1 is outside the 2 classes"):
        open_dataset(str(saved(tmp_path, **arrays())), labels_from=1)
    with pytest.raises(InvalidFile, match=r"train_images reach 15 of 255: nearly black; .* probably 0..15"):
        open_dataset(str(saved(tmp_path, **arrays(train_images=IMAGES // 16))))
    dark = open_dataset(f"{tmp_path / 'data.npz'}?pixel-range=0..255")
    assert dark.train.images.max() == 15
    data = open_dataset(
        str(saved(tmp_path, **arrays(train_images=IMAGES > 99, test_images=IMAGES[:6] > 99))), pixel_range="0..1"
    )
    np.testing.assert_array_equal(data.train.images, np.where(IMAGES > 99, 255, 0))
    wide = arrays(train_images=IMAGES[:, :1], test_images=IMAGES[:6, :1])  # one row, three channels: not channels first
    assert open_dataset(str(saved(tmp_path, **wide))).train.shape == (1, 4, 3)


def test_what_is_dark_in_one_split_and_images_of_one_value_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_dataset(str(saved(tmp_path, **arrays(test_images=IMAGES[:6] // 16))))
    assert re.search(r"test_images reach 15 of 255, nearly black, and train_images 2\d\d", capsys.readouterr().err)
    open_dataset(str(saved(tmp_path, **arrays(train_images=np.full_like(IMAGES, 255)))))
    assert "every pixel of train_images is 255" in capsys.readouterr().err
    open_dataset(str(saved(tmp_path, **arrays())))
    assert capsys.readouterr().err == ""


def test_labels_in_a_column_and_names_in_bytes_are_read(tmp_path: Path) -> None:
    names = ["cat", "dog", "Ämsel"]
    text = open_dataset(str(saved(tmp_path, **arrays(class_names=np.array(names)))))
    content = arrays(class_names=np.array([name.encode() for name in names]), train_labels=(np.arange(12) % 3)[:, None])
    data = open_dataset(str(saved(tmp_path, **content)))
    assert data.class_names == tuple(names)
    assert data.fingerprint == text.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_labels": np.array([0, 1, 2, 255] * 3)},
            r"252 of 256 classes \(3, 4, 5, 6, 7, ...\) have no training sample",
        ),
        ({"class_names": np.array([*"abcd"])}, r"1 of 4 classes \(d\) have no training sample"),
        ({"test_labels": np.arange(6)}, r"3 of 6 classes \(3, 4, 5\) have no training sample"),
    ],
)
def test_a_class_without_a_training_sample_is_refused_unless_it_is_allowed(
    tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, **arrays(**changes))
    with pytest.raises(InvalidFile, match=message) as error_info:
        open_dataset(str(path))
    assert error_info.value.parameter == "allow_empty_classes"
    data = open_dataset(str(path), allow_empty_classes=True)
    assert data.spec.endswith("allow-empty-classes=true")
    assert len(np.unique(data.train.labels)) < data.classes
    capsys.readouterr()
    open_dataset(str(saved(tmp_path, **arrays(test_labels=np.zeros(6, int)))))
    assert "data: 2 of 3 classes (1, 2) have no test sample" in capsys.readouterr().err


def test_a_well_compressed_npz_is_read_if_the_memory_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sprites = np.zeros((3000, 64, 64, 3), np.uint8)
    sprites[:, 30:34, 30:34] = 200
    content = {"train_images": sprites, "train_labels": np.arange(3000) % 3}
    content |= {"test_images": sprites[:6], "test_labels": np.arange(6) % 3}
    np.savez_compressed(tmp_path / "sprites.npz", **content)
    assert (tmp_path / "sprites.npz").stat().st_size * 250 < sprites.nbytes
    assert open_dataset(str(tmp_path / "sprites.npz")).total == 3000
    monkeypatch.setattr("datapruning.io.npy.available_memory", lambda: 10**7)
    with pytest.raises(InvalidFile, match=r"it unpacks to 36\.\d MB, and 10\.0 MB of memory are free"):
        open_dataset(str(tmp_path / "sprites.npz"))


def test_a_name_with_two_meanings_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        write_image(tmp_path / "digits" / split / "a" / "1.png", (9, 90, 200))
    saved(tmp_path, **arrays()).rename("digits.npz")
    assert open_dataset("digits").classes == 10
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "digits is the built-in dataset; digits in this folder is named ./digits",
        "digits is the built-in dataset; digits.npz in this folder is named ./digits.npz",
    ]
    assert open_dataset("./digits", image_size=8).class_names == ("a",)
    assert open_dataset("./digits.npz").classes == 3
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(InvalidFile, match=r"name the folder x.npz/"):
        open_dataset("x.npz")
    (tmp_path / "digits").rename(tmp_path / "x.npz" / "train")
    assert open_dataset("x.npz/train/", image_size=8).class_names == ("a",)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_npz_is_refused(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path, **arrays(200))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidFile, match=r"data\.npz cannot be read"):
        open_dataset(str(path))


@given(st.booleans(), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@settings(max_examples=150)
def test_a_damaged_byte_is_detected_or_harmless(packed: bool, position: float, flip: int) -> None:
    stream, expected = io.BytesIO(), arrays()
    (np.savez_compressed if packed else np.savez)(stream, **expected)
    content = bytearray(stream.getvalue())
    content[int(position * len(content))] ^= flip
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(content)
        file.flush()
        try:
            data = open_dataset(str(Path(file.name)))
        except InvalidFile:
            return
    np.testing.assert_array_equal(data.train.images, expected["train_images"])
    np.testing.assert_array_equal(data.test.labels, expected["test_labels"])


def test_files_that_are_not_npz_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"absent\.npz is not there"):
        open_dataset(str(tmp_path / "absent.npz"))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InvalidFile, match=r"text\.npz cannot be read"):
        open_dataset(str(tmp_path / "text.npz"))
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidFile, match=r"one\.npz cannot be read: it is no \.npz archive"):
        open_dataset(str(tmp_path / "one.npz"))
    for beginning, kind in (
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<html>", "a web page"),
    ):
        (tmp_path / "text.npz").write_bytes(beginning)
        with pytest.raises(InvalidFile, match=rf"text\.npz cannot be read: it is {kind}"):
            open_dataset(str(tmp_path / "text.npz"))
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InvalidFile, match=r"folder\.npz cannot be read"):
        open_dataset(str(tmp_path / "folder.npz"))


@pytest.mark.parametrize("name", ["pets.zip", "pets.NPZ", "pets", "labels.csv"])
def test_a_file_is_not_said_to_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    for path in (name, f"./{name}", tmp_path / name):
        with pytest.raises(
            InvalidFile, match=rf"{name} is a file; a dataset is a folder with one folder of images for each"
        ):
            open_dataset(path)


@pytest.mark.parametrize(
    ("typed", "near"), [("cifar1O", "cifar10"), ("fashion_mnist", "fashion-mnist"), ("digit", "digits")]
)
def test_an_unknown_name_brings_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown dataset '{typed}': did you mean '{near}'"):
        open_dataset(typed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 300, "unknown dataset"),
        (f"{'a' * 300}?image-size=8", "unknown dataset"),
        (f"{'a' * 300}/b?image-size=8", "is not there"),
        (f"hf:{'a' * 300}", "is not there"),
        ("~nobody-of-this-name/pets", "is not there"),
        ("pets/\0?image-size=8", "holds a null character"),
    ],
)
def test_names_that_no_file_system_takes_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dp.score(name)


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_a_missing_dataset_names_the_download_option(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidFile) as error_info:
        open_dataset(name, root=tmp_path / "none")
    line = str(error_info.value)
    assert line.startswith(f"{name} is not under {tmp_path / 'none'}")
    assert "allow the download, or name the folder that holds it" in line
    assert error_info.value.parameter == "data_root"
    assert "\n" not in line


def test_the_root_comes_from_the_variable_unless_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "variable"))
    with pytest.raises(InvalidFile, match=r"is not under .*variable"):
        open_dataset("cifar10")
    with pytest.raises(InvalidFile, match=r"is not under .*given"):
        open_dataset("cifar10", root=tmp_path / "given")
    monkeypatch.delenv(ROOT_VARIABLE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidFile, match="is not under data "):
        open_dataset("cifar10")


def real(name: str) -> Path:
    """Return a path under the data folder, or skip."""
    path = Path(REAL or "") / name
    if not REAL or not path.exists():
        pytest.skip(f"needs ${ROOT_VARIABLE} with {name} in it")
    return path


def assert_official(data: Dataset, train: int, test: int, classes: int, shape: tuple[int, int, int]) -> None:
    assert (data.total, len(data.test), data.classes, data.train.shape) == (train, test, classes, shape)
    for split, count in ((data.train, train), (data.test, test)):
        assert np.bincount(split.labels).tolist() == [count // classes] * classes
        assert isinstance(split, Split)


def test_real_fashion_mnist() -> None:
    data = open_dataset("fashion-mnist", root=real("FashionMNIST").parent)
    assert_official(data, 60_000, 10_000, 10, (28, 28, 1))
    assert data.class_names[0] == "T-shirt/top"
    np.testing.assert_allclose(np.array(data.channel_stats).ravel() / 255, [0.2860, 0.3530], atol=1e-4)


def test_real_cifar100_as_npz() -> None:
    data = open_dataset(str(real("cifar100.npz")))
    assert_official(data, 50_000, 10_000, 100, (32, 32, 3))
    assert len(set(data.class_names)) == 100
    assert data.class_names[0] == "apple"
    np.testing.assert_allclose(np.array(data.channel_stats[0]) / 255, [0.5071, 0.4865, 0.4409], atol=1e-4)
