"""Subsets: sorted int64 ids readable with numpy; invalid ids are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datapruning.artifacts.metadata import SubsetMetadata, common_fields
from datapruning.artifacts.subset import load_subset, read_ids, subset_from_ids, validate_ids
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.io.npz import write_npz

QUICK = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
IDS = st.lists(st.integers(0, 119), min_size=1, unique=True)


@QUICK
@given(IDS, st.sampled_from([np.int64, np.int32, np.uint8, np.uint64]))
def test_a_subset_holds_the_ids_sorted_as_int64(tmp_path: Path, small_dataset: Dataset, ids: list[int], kind: Any) -> None:
    subset = subset_from_ids(np.array(ids, kind), small_dataset, "by hand")
    path = subset.save(tmp_path / "s.npz")
    with np.load(path, allow_pickle=False) as file:
        indices = file["indices"]
    assert indices.dtype == np.int64
    assert indices.tolist() == sorted(ids)
    loaded = load_subset(path)
    assert loaded.meta == subset.meta
    assert (len(loaded), loaded.total) == (len(ids), 120)
    assert str(loaded) == f"keeping {len(ids)} of 120"


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9), st.integers(1, 50))
def test_ids_pass_exactly_if_they_are_distinct_and_in_range(ids: list[int], total: int) -> None:
    if ids and len(set(ids)) == len(ids) and all(0 <= i < total for i in ids):
        assert validate_ids(np.array(ids, np.int64), total, "here").tolist() == ids
    else:
        with pytest.raises(InvalidValue, match="here"):
            validate_ids(np.array(ids, np.int64), total, "here")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.array([4097], np.float16), "float16"),
        (np.array([2**24 + 1], np.float32), "float32"),
        (np.array([1.0]), "float64"),
        (np.ones(120, np.bool_), "boolean mask"),
        (np.array(["1"]), "whole numbers"),
        (np.array([2**63], np.uint64), "9223372036854775808"),
        (np.array([120]), "id 120 is not in 0..119"),
        (np.array([-1]), "id -1 is not in 0..119"),
        (np.array([5, 1, 5]), "id 5 comes more than once"),
        (np.array([[1]]), "flat"),
        (np.array(1), "flat"),
        (np.array([], np.int64), "at least one"),
    ],
)
def test_invalid_ids_are_refused(tmp_path: Path, small_dataset: Dataset, ids: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        subset_from_ids(ids, small_dataset, "by hand")
    write_npz(tmp_path / "s.npz", {"indices": ids}, SubsetMetadata(**common_fields(small_dataset), scorer="ids").to_json())
    with pytest.raises(InvalidFile, match=rf"s\.npz.*{message}"):
        load_subset(tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"strateggy": "top"}, "unknown key 'strateggy': did you mean 'strategy'"),
        ({"scores": {"scorer": 3}}, "scores.dataset"),
        ({"settings": {"cutoff": "0.5"}}, "settings.cutoff"),
        ({"format": "datapruning.scores"}, "its format is 'datapruning.scores'"),
        ({"version": 2}, "format version 2"),
        ({"version": None}, "format version None"),
        ({"total": 3}, "id 7 is not in 0..2"),
        ({"total": -1}, "total"),
        ({"fingerprint": None}, "fingerprint"),
        ({"dataset": 1}, "dataset"),
    ],
)
def test_a_file_with_invalid_metadata_is_refused(
    tmp_path: Path, small_dataset: Dataset, meta: dict[str, Any], message: str
) -> None:
    write_npz(
        tmp_path / "s.npz",
        {"indices": np.array([2, 7])},
        {**SubsetMetadata(**common_fields(small_dataset), scorer="ids").to_json(), **meta},
    )
    with pytest.raises(InvalidFile, match=message):
        load_subset(tmp_path / "s.npz")


@pytest.mark.parametrize("missing", ["scorer", "total", "dataset", "fingerprint", "format", "version"])
def test_a_file_with_missing_metadata_is_refused(tmp_path: Path, small_dataset: Dataset, missing: str) -> None:
    meta = SubsetMetadata(**common_fields(small_dataset), scorer="ids").to_json()
    del meta[missing]
    write_npz(tmp_path / "s.npz", {"indices": np.array([2, 7])}, meta)
    with pytest.raises(InvalidFile, match=r"s\.npz"):
        load_subset(tmp_path / "s.npz")


def test_unsorted_files_are_refused(tmp_path: Path, small_dataset: Dataset) -> None:
    write_npz(
        tmp_path / "s.npz",
        {"indices": np.array([7, 2])},
        SubsetMetadata(**common_fields(small_dataset), scorer="ids").to_json(),
    )
    with pytest.raises(InvalidFile, match="not sorted"):
        load_subset(tmp_path / "s.npz")


@QUICK
@given(IDS, st.sampled_from(["\n", "\r\n", "\n\n", " \n\t"]))
def test_plain_ids_are_read_from_npy_and_text(tmp_path: Path, ids: list[int], between: str) -> None:
    np.save(tmp_path / "ids.npy", np.array(ids))
    (tmp_path / "ids.txt").write_bytes(between.join(map(str, ids)).encode())
    assert read_ids(tmp_path / "ids.npy").tolist() == read_ids(tmp_path / "ids.txt").tolist() == ids


@pytest.mark.parametrize("line", ["two", "1.0", "1,2", "0x1", "1 2", "nan"])
def test_the_first_invalid_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "ids.txt").write_text(f"1\n\n{line}\nworse\n")
    with pytest.raises(InvalidFile, match=rf"ids\.txt, line 3: '{line}'"):
        read_ids(tmp_path / "ids.txt")


def test_other_files_of_ids_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pickle.npy", np.array([{}], object))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe1\n")
    (tmp_path / "huge.txt").write_text(f"{2**63}\n")
    (tmp_path / "folder").mkdir()
    for path in [*tmp_path.iterdir(), tmp_path / "absent"]:
        with pytest.raises(InvalidFile, match=path.name):
            read_ids(path)
