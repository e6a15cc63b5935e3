"""Dataset sources: names and files to datasets; missing or broken ones are reported in one line."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.data.dataset import Dataset, Split
from datapruning.data.registry import ROOT_VARIABLE, open_dataset, open_npz
from datapruning.errors import InvalidFile, UnknownName

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
    assert open_npz(saved(tmp_path, **content)).fingerprint == digits.fingerprint
    np.savez_compressed(tmp_path / "packed.npz", **content)
    assert open_npz(tmp_path / "packed.npz").fingerprint == digits.fingerprint


def test_grey_images_need_no_channel_axis_and_classes_no_names(tmp_path: Path) -> None:
    data = open_npz(saved(tmp_path, **arrays(channels=None)))
    assert data.train.shape == (5, 4, 1)
    assert data.class_names == ("0", "1", "2")


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type_are_labels(tmp_path: Path, kind: type) -> None:
    data = open_npz(saved(tmp_path, **arrays(train_labels=(np.arange(12) % 3).astype(kind))))
    assert data.train.labels.dtype == np.int64
    assert data.train.labels.tolist() == [0, 1, 2] * 4


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an array missing": (arrays(test_labels=None), "lacks test_labels"),
    "two missing": (arrays(train_images=None, test_images=None), "lacks train_images, test_images"),
    "objects": (arrays(train_labels=np.array([0, None] * 6, object)), "pickle is never opened"),
    "float images": (arrays(train_images=np.zeros((12, 5, 4, 3))), "train split: images are float64"),
    "float labels": (arrays(train_labels=np.zeros(12)), "train_labels are float64; whole numbers are needed"),
    "boolean labels": (arrays(train_labels=np.zeros(12, bool)), "train_labels are bool; whole numbers are needed"),
    "a negative label": (arrays(test_labels=np.array([0, 1, 2, 0, -1, 0])), "test split: label -1 is outside the 3 classes"),
    "a label without a name": (arrays(class_names=np.array(["a", "b"])), "label 2 is outside the 2 classes"),
    "too few labels": (arrays(train_labels=np.arange(11) % 3), r"labels are int64 \[11\] for 12 images"),
    "shapes that differ": (
        arrays(test_images=np.zeros((6, 4, 5, 3), np.uint8)),
        r"train images are \(5, 4, 3\), test images \(4, 5, 3\)",
    ),
    "flat images": (arrays(train_images=np.zeros((12, 60), np.uint8)), "train split: images are uint8"),
    "no samples": (
        arrays(train_images=np.zeros((0, 5, 4, 3), np.uint8), train_labels=np.zeros(0, int)),
        "train split: images",
    ),
    "one image": (arrays(train_images=np.uint8(3)), "train split: images are uint8"),
    "names that are one word": (arrays(class_names=np.array("cat")), "class_names is not a list of names"),
}


@pytest.mark.parametrize("defect", WRONG)
def test_a_wrong_npz_is_refused_with_the_reason(tmp_path: Path, defect: str) -> None:
    content, message = WRONG[defect]
    with pytest.raises(InvalidFile, match=message) as error_info:
        open_npz(saved(tmp_path, **content))
    assert "\n" not in str(error_info.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_npz_is_refused(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path, **arrays(200))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidFile, match=r"data\.npz cannot be read"):
        open_npz(path)


@given(st.booleans(), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@settings(deadline=None, max_examples=150)
def test_a_damaged_byte_is_detected_or_harmless(packed: bool, position: float, flip: int) -> None:
    stream, expected = io.BytesIO(), arrays()
    (np.savez_compressed if packed else np.savez)(stream, **expected)
    content = bytearray(stream.getvalue())
    content[int(position * len(content))] ^= flip
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(content)
        file.flush()
        try:
            data = open_npz(Path(file.name))
        except InvalidFile:
            return
    np.testing.assert_array_equal(data.train.images, expected["train_images"])
    np.testing.assert_array_equal(data.test.labels, expected["test_labels"])


def test_files_that_are_not_npz_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"absent\.npz is not there"):
        open_dataset(str(tmp_path / "absent.npz"))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InvalidFile, match=r"text\.npz cannot be read"):
        open_npz(tmp_path / "text.npz")
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidFile, match=r"one\.npz cannot be read: it is no \.npz archive"):
        open_npz(tmp_path / "one.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InvalidFile, match=r"folder\.npz cannot be read"):
        open_npz(tmp_path / "folder.npz")


@pytest.mark.parametrize(
    ("typed", "near"), [("cifar1O", "cifar10"), ("fashion_mnist", "fashion-mnist"), ("digit", "digits")]
)
def test_an_unknown_name_brings_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown dataset '{typed}': did you mean '{near}'"):
        open_dataset(typed)


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
