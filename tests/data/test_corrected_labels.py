"""Corrected labels in a CSV: what is taken, what is refused, and that scores, subsets and runs remember them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, UnknownName, UserError
from tests.conftest import CommandResult, fast_options

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
DIGITS = dp.open_dataset("digits")


def corrected(path: Path, text: str) -> Dataset:
    """The digits with the corrections of a text."""
    path.write_text(text)
    return dp.open_dataset("digits", corrected_labels=path)


@pytest.mark.parametrize("text", [
    "id,corrected\n3,7\n1437,0\n", "\ufeffid;corrected\r\n3;7\r\n1437;0\r\n",
    "rank,id,label,corrected\n1,3,2, 7\n\n2,1437,9,0\n",
    "Corrected\tID\n7\t3\n0\t1437\n\t5\n",
])  # fmt: skip
def test_labels_of_the_named_samples_are_changed_and_no_others(tmp_path: Path, text: str) -> None:
    data = corrected(tmp_path / "c.csv", text)
    expected = DIGITS.train.labels.copy()
    expected[[3, 1437]] = [7, 0]
    assert data.train.labels.tolist() == expected.tolist()
    assert (data.test.labels == DIGITS.test.labels).all()
    assert data.fingerprint != DIGITS.fingerprint
    assert data.spec == f"digits?corrected-labels={tmp_path / 'c.csv'}"
    assert dp.open_dataset(data.spec).fingerprint == data.fingerprint


@given(st.dictionaries(st.integers(0, DIGITS.total - 1), st.integers(0, 9), max_size=20))
def test_any_corrections_are_those_of_the_file(tmp_path_factory: pytest.TempPathFactory, labels: dict[int, int]) -> None:
    path = tmp_path_factory.mktemp("csv") / "c.csv"
    data = corrected(path, "id,corrected\n" + "".join(f"{number},{label}\n" for number, label in labels.items()))
    assert {number: data.train.labels[number] for number in labels} == labels
    others = np.setdiff1d(np.arange(DIGITS.total), list(labels))
    assert (data.train.labels[others] == DIGITS.train.labels[others]).all()


def test_a_class_is_its_name_and_else_its_number(tmp_path: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 1), np.uint8), np.arange(6) % 3
    names = np.array(["1", "cat", "dog"])
    np.savez(
        tmp_path / "d.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        class_names=names,
    )
    (tmp_path / "c.csv").write_text("id,corrected\n1,1\n2,cat\n3,2\n")
    data = dp.open_dataset(tmp_path / "d.npz", corrected_labels=tmp_path / "c.csv")
    assert data.train.labels.tolist() == [0, 0, 1, 2, 1, 2]


@pytest.mark.parametrize(("text", "error", "message"), [
    ("id,corrected\n3,zebra\n", UnknownName, "unknown class in .*c.csv, line 2: 'zebra'"),
    ("id,corrected\n3,10\n", UnknownName, "line 2: '10'"),
    ("id,corrected\n3,1\n1438,1\n", InvalidFile, "line 3: '1438' is no sample id of digits, which has 1,438 samples"),
    ("id,corrected\nx,1\n", InvalidFile, "line 2: 'x' is no sample id"),
    ("id,corrected\n3,1\n3,2\n", InvalidFile, "line 3: sample 3 has a line before, .*line 2"),
    ("id,corrected\n3,1,5\n", InvalidFile, "line 2: 3 columns, and the first line has 2"),
    ("id,label\n3,1\n", InvalidFile, "columns id and corrected is needed"),
    ("", InvalidFile, "columns id and corrected is needed"),
])  # fmt: skip
def test_what_is_no_correction_is_refused_with_its_line(
    tmp_path: Path, text: str, error: type[UserError], message: str
) -> None:
    with pytest.raises(error, match=message):
        corrected(tmp_path / "c.csv", text)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, expect_refusal: ExpectRefusal) -> None:
    arguments = ["score", "--data", "digits", "--scorer", "random", "--corrected-labels"]
    assert "missing.csv is not there; a CSV with the columns id and corrected" in expect_refusal(*arguments, "missing.csv")
    (tmp_path / "c.csv").write_bytes(b"id,corrected\n1,\xff\n")
    assert "cannot be read as CSV" in expect_refusal(*arguments, "c.csv")
    assert "neither & nor ?" in expect_refusal(*arguments, "a?b.csv")


def test_scores_subsets_and_runs_remember_the_file(dprune: Dprune, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,corrected\n3,7\n4,7\n")
    for arguments in (
        ["score", "--data", "digits", "--scorer", "random", "--out", "before.npz"],
        ["score", "--data", "digits", "--corrected-labels", "c.csv", "--scorer", "random", "--out", "after.npz"],
        ["select", "--scores", "before.npz", "--data", "digits", "--corrected-labels", "c.csv", "--fraction", "0.2", "--out",
         "s.npz"],
        ["train", "--subset", "s.npz", "--kd-weight", "0", *fast_options(), "--model", "tinynet8", "--out", "run"],
        ["evaluate", "run"],
    ):  # fmt: skip
        command = dprune(*arguments)
        assert command.code == 0, command.err
    for name, is_corrected in (("before.npz", False), ("after.npz", True), ("s.npz", True)):
        meta = (dp.load_subset if name == "s.npz" else dp.load_scores)(name).meta
        assert str(meta.spec).endswith("c.csv") == is_corrected
    (tmp_path / "c.csv").write_text("id,corrected\n3,7\n4,8\n")
    command = dprune("train", "--subset", "s.npz", "--kd-weight", "0", *fast_options(), "--model", "tinynet8")
    assert command.code == 2
    assert "the options are the same, so images or labels have changed since" in command.err
