"""Subsets: sorted int64 ids readable with numpy; invalid ids are refused by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datapruning.artifacts.id_lists import read_ids
from datapruning.artifacts.metadata import SubsetMetadata, common_fields
from datapruning.artifacts.subset import load_subset, subset_from_ids, validate_ids
from datapruning.artifacts.subset_file import open_subset
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, InvalidValue, UserError
from datapruning.io.npz import write_npz

QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


LISTS: dict[str, bytes] = {
    "plain.csv": b"id,score\n7,0.5\n3,0.1\n",
    "quoted.csv": b'\xef\xbb\xbfpath,id\r\n"a, b.png",7\r\nc.png,3\r\n',
    "kept.csv": b"id,kept\n0,0\n7,1\n1,false\n3,True\n",
    "bare.csv": b"7\n3\n",
    "semicolons.csv": b"id;score\r\n7;0,5\r\n3;0,1\r\n",
    "tabs.tsv": b"path\tid\na, b.png\t7\nc.png\t3\n",
    "capitals.csv": b",ID\n0,7\n1,3\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_column_of_a_csv_is_a_list_of_ids(tmp_path: Path, small_dataset: Dataset, name: str) -> None:
    (tmp_path / name).write_bytes(LISTS[name])
    assert read_ids(tmp_path / name).tolist() == [7, 3]
    assert open_subset(tmp_path / name, small_dataset).indices.tolist() == [3, 7]


@pytest.mark.parametrize("content", [torch.tensor([7, 3]), torch.tensor([7, 3], dtype=torch.int32), [7, 3]])
def test_a_tensor_of_ids_is_a_list_of_ids(tmp_path: Path, small_dataset: Dataset, content: Any) -> None:
    torch.save(content, tmp_path / "ids.pt")
    assert open_subset(tmp_path / "ids.pt", small_dataset).indices.tolist() == [3, 7]


def test_a_damaged_tensor_of_ids_is_refused(tmp_path: Path) -> None:
    """Torch does not verify the checksums of its archives."""
    torch.save(torch.tensor([7, 3]), tmp_path / "ids.pt")
    content = (tmp_path / "ids.pt").read_bytes()
    (tmp_path / "ids.pt").write_bytes(content.replace((7).to_bytes(8, "little"), (6).to_bytes(8, "little"), 1))
    with pytest.raises(InvalidFile, match=r"ids\.pt cannot be read as a tensor .Bad CRC-32"):
        read_ids(tmp_path / "ids.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"index,score\n7,0.5\n", "a.csv has no column id: its first line is 'index,score'"),
        ("a.csv", b"id,id\n7,7\n", "a.csv has no column id"),
        ("a.csv", b"id,score\n7\n", "a.csv, line 2: 1 columns, and the first line has 2"),
        ("a.csv", b"id,score\n7.0,1\n", "a.csv, line 2: '7.0' is no sample id"),
        ("a.csv", b"id,kept\n7,maybe\n", "a.csv, line 2: kept is 1 or 0; found 'maybe'"),
        ("a.json", b"[7, 3]", "a.json looks like JSON; a .npy or .pt of ids, a .csv with a column id, or a text file"),
        ("a.txt", b'{"ids": [7]}', "a.txt looks like JSON"),
        ("a.txt", "7\n3\n".encode("utf-16"), "a.txt cannot be read as text: it is UTF-16 text; save it as UTF-8"),
        ("a.txt", b"PK\x03\x04\xff\xff", "a.txt is no UTF-8 text; a .npy or .pt of ids"),
        ("a.pt", b"7\n3\n", "a.pt cannot be read as a tensor"),
        ("a.csv", b"ID,Id\n7,7\n", "a.csv has no column id"),
        ("a.jsonl", b'{"id": 7}\n', "a.jsonl looks like JSON"),
        ("a.yaml", b"- 7\n", "a.yaml is no subset file and no list of sample ids: a .npy or .pt of ids"),
        ("a.txt.gz", b"\x1f\x8b", "a.txt.gz is no subset file and no list of sample ids"),
    ],
)
def test_a_list_of_another_kind_says_what_it_is_and_what_is_taken(
    tmp_path: Path, small_dataset: Dataset, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidFile, match=re.escape(message)):
        open_subset(tmp_path / name, small_dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(3), "holds a tensor of torch.float32; a tensor of sample ids"),
        ({"ids": torch.tensor([7, 3])}, "holds a dict; a tensor of sample ids"),
        (torch.arange(120) < 3, "this is a boolean mask"),
        ((torch.arange(120) < 3).long(), "120 numbers that are 0 and 1 are a mask, not ids; np.flatnonzero"),
    ],
)
def test_other_tensors_are_refused(tmp_path: Path, small_dataset: Dataset, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "ids.pt")
    with pytest.raises(UserError, match=re.escape(message)):
        open_subset(tmp_path / "ids.pt", small_dataset)


def test_a_mask_of_0_and_1_is_refused_and_the_ids_0_and_1_are_not(tmp_path: Path, small_dataset: Dataset) -> None:
    np.savetxt(tmp_path / "mask.txt", np.arange(120) % 2, fmt="%d")
    with pytest.raises(InvalidValue, match="120 numbers that are 0 and 1 are a mask"):
        open_subset(tmp_path / "mask.txt", small_dataset)
    np.save(tmp_path / "ids.npy", np.array([1, 0]))
    assert open_subset(tmp_path / "ids.npy", small_dataset).indices.tolist() == [0, 1]


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


@pytest.mark.parametrize("blank", ["\x1f", "\u00a0", "\u3000"])
def test_ids_may_stand_beside_any_blank(tmp_path: Path, blank: str) -> None:
    for name in ("ids.txt", "ids.csv"):
        (tmp_path / name).write_text(f"12{blank}\n{blank}3\n", encoding="utf-8")
        assert read_ids(tmp_path / name).tolist() == [12, 3]
