"""Hugging Face datasets on disk: rows are ids, columns by their types. Skipped where `datasets` is missing."""

from __future__ import annotations

import itertools
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import datapruning as dp
from datapruning.errors import InvalidFile, InvalidValue
from tests.conftest import CommandResult

WARNINGS = pytest.mark.filterwarnings("ignore")  # of dill and datasets themselves


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The `datasets` package, with numbered fingerprints: with dill 0.4.1 and pyarrow 24 hashing tables fails."""
    with warnings.catch_warnings(action="ignore"):
        package = pytest.importorskip("datasets", reason="datasets is not installed")
    numbers = itertools.count()
    monkeypatch.setattr("datasets.arrow_dataset.generate_fingerprint", lambda made: f"made-{next(numbers)}")
    return package


def table(hf: Any, count: int, **columns: Any) -> Any:
    """Make rows with a label and an image whose red value is the row number, with unusual column names."""
    images = [Image.new("RGB", (9 + row % 3, 8), (row, 0, 0)) for row in range(count)]
    content = {"what": [row % 2 for row in range(count)], "note": ["x"] * count, "photo": images, **columns}
    kinds = {"what": hf.ClassLabel(names=["cat", "dog"]), "note": hf.Value("string"), "photo": hf.Image()}
    features = hf.Features({**{name: hf.Image() for name in columns}, **kinds})
    return hf.Dataset.from_dict(content, features=features)


@WARNINGS
def test_rows_are_ids_and_columns_are_found_by_their_types(hf: Any, tmp_path: Path) -> None:
    hf.DatasetDict(train=table(hf, 20), validation=table(hf, 6)).save_to_disk(tmp_path / "pets")
    data = dp.open_dataset(f"hf:{tmp_path / 'pets'}", image_size=8, workspace=tmp_path / "runs")
    assert (data.name, data.total, len(data.test), data.class_names) == ("pets", 20, 6, ("cat", "dog"))
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(20))
    assert data.train.labels.tolist() == [0, 1] * 10
    assert data.train_paths is None
    assert data.source == f"hf:{tmp_path / 'pets'}?image-size=8"
    repeated = dp.open_dataset(data.source, workspace=tmp_path / "runs")
    assert repeated.fingerprint == data.fingerprint
    assert len(list((tmp_path / "runs").rglob("train.npy"))) == 1


@WARNINGS
def test_samples_are_held_out_without_a_test_split(hf: Any, tmp_path: Path) -> None:
    table(hf, 20).save_to_disk(tmp_path / "pets")
    name = f"hf:{tmp_path / 'pets'}"
    with pytest.raises(InvalidFile, match="say which fraction of each class becomes the test set"):
        dp.open_dataset(name)
    data = dp.open_dataset(name, image_size=8, holdout=0.2, workspace=tmp_path / "runs")
    reds = np.concatenate([data.train.images[:, 0, 0, 0], data.test.images[:, 0, 0, 0]])
    assert (data.total, len(data.test)) == (16, 4)
    assert sorted(reds.tolist()) == list(range(20))
    assert (data.train.images[:, 0, 0, 0] % 2 == data.train.labels).all()
    other = dp.open_dataset(name, image_size=8, holdout=0.4, workspace=tmp_path / "runs")
    assert (other.total, len(other.test)) == (12, 8)


@WARNINGS
def test_unsupported_datasets_are_refused(hf: Any, tmp_path: Path) -> None:
    hf.DatasetDict(train=table(hf, 4), test=table(hf, 4)).save_to_disk(tmp_path / "both")
    with pytest.raises(InvalidValue, match="a holdout is for datasets without one"):
        dp.open_dataset(f"hf:{tmp_path / 'both'}", holdout=0.5)
    two = table(hf, 4, mask=[Image.new("RGB", (8, 8))] * 4)
    hf.DatasetDict(train=two, test=two).save_to_disk(tmp_path / "two")
    with pytest.raises(InvalidFile, match=r"exactly one image column is needed, there is (photo, mask|mask, photo)"):
        dp.open_dataset(f"hf:{tmp_path / 'two'}")
    plain = table(hf, 4).remove_columns("what")
    hf.DatasetDict(train=plain, test=plain).save_to_disk(tmp_path / "plain")
    with pytest.raises(InvalidFile, match=r"exactly one label \(ClassLabel\) column is needed, there is none"):
        dp.open_dataset(f"hf:{tmp_path / 'plain'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidFile, match="not a dataset that save_to_disk wrote"):
        dp.open_dataset(f"hf:{tmp_path / 'empty'}")


def rebuilt(hf: Any, folder: Path, **columns: Any) -> None:
    """Save a dataset as a script does that runs again: under the fingerprints of the first time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.arrow_dataset.generate_fingerprint", lambda made: "the script")
        table_split = table(hf, 4, **columns)
        hf.DatasetDict(train=table_split, test=table(hf, 4)).save_to_disk(folder)


@WARNINGS
def test_content_decides_not_the_hash_of_the_script(hf: Any, tmp_path: Path) -> None:
    def opened() -> dp.Dataset:
        return dp.open_dataset(f"hf:{tmp_path / 'pets'}", image_size=8, workspace=tmp_path / "runs")

    rebuilt(hf, tmp_path / "pets")
    first = opened()
    assert opened().fingerprint == first.fingerprint
    shutil.rmtree(tmp_path / "pets")
    rebuilt(hf, tmp_path / "pets", photo=[Image.new("RGB", (9, 8), (0, 200, row)) for row in range(4)])
    second = opened()
    assert (second.train.images[:, 0, 0, 1] == 200).all(), "not the decoded images of before"
    assert second.fingerprint != first.fingerprint
    shutil.rmtree(tmp_path / "pets")
    rebuilt(hf, tmp_path / "pets", what=[1, 0, 1, 0])
    third = opened()
    assert third.train.labels.tolist() == [1, 0, 1, 0]
    assert third.fingerprint not in (first.fingerprint, second.fingerprint)


@WARNINGS
def test_rows_without_an_image_are_named_and_can_be_skipped(hf: Any, tmp_path: Path) -> None:
    photos = [None, *(Image.new("RGB", (8, 8), (row, 90, 0)) for row in range(3))]
    hf.DatasetDict(train=table(hf, 4, photo=photos), test=table(hf, 4)).save_to_disk(tmp_path / "pets")
    name = f"hf:{tmp_path / 'pets'}"
    with pytest.raises(
        InvalidFile, match=r"pets, train: row 0 cannot be read as an image \(column 'photo' has no image there"
    ):
        dp.open_dataset(name, image_size=8, workspace=tmp_path / "runs")
    data = dp.open_dataset(name, image_size=8, skip_unreadable=True, workspace=tmp_path / "runs")
    assert data.corrupt_ids == (0,)
    assert data.channel_stats[0] == (1, 90, 0)


@WARNINGS
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("label", [None, -1])
def test_rows_without_a_label_are_named(hf: Any, tmp_path: Path, split: str, label: int | None) -> None:
    splits = {"train": table(hf, 4), "test": table(hf, 4)}
    splits[split] = table(hf, 4, what=[0, 1, label, label])
    hf.DatasetDict(**splits).save_to_disk(tmp_path / "pets")
    with pytest.raises(
        InvalidFile, match=rf"pets, {split}: row 2, column 'what' is {label}, .* none of the 2 classes \(2 such"
    ):
        dp.open_dataset(f"hf:{tmp_path / 'pets'}", image_size=8, workspace=tmp_path / "runs")


@WARNINGS
def test_a_class_without_a_row_is_refused_unless_it_is_allowed(hf: Any, tmp_path: Path) -> None:
    hf.DatasetDict(train=table(hf, 4, what=[0] * 4), test=table(hf, 4)).save_to_disk(tmp_path / "pets")
    with pytest.raises(InvalidFile, match=r"1 of 2 classes \(dog\) have no training sample"):
        dp.open_dataset(f"hf:{tmp_path / 'pets'}", image_size=8, workspace=tmp_path / "runs")
    data = dp.open_dataset(f"hf:{tmp_path / 'pets'}", image_size=8, allow_empty_classes=True, workspace=tmp_path / "runs")
    assert data.classes == 2


def test_a_missing_folder_is_refused(expect_refusal: Callable[..., str]) -> None:
    assert "folder pets is not there" in expect_refusal("score", "--data", "hf:pets")


def test_without_the_package_one_line_names_it(
    dprune: Callable[..., CommandResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "pets").mkdir()
    command = dprune("score", "--data", "hf:pets")
    assert command.code == 2
    assert "pip install datasets" in command.err
    assert len(command.err.splitlines()) == 1
