"""Hugging Face datasets on disk: rows are ids, columns by their types. Skipped where `datasets` is missing."""

from __future__ import annotations

import itertools
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
    features = hf.Features({**kinds, **{name: hf.Image() for name in columns}})
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
