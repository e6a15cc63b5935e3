"""Modified files of every kind are refused in one line or read unchanged. `benchmarks.fuzz` runs longer."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import FAULTS, judge
from benchmarks.fuzz_changes import change_npy, change_value, changed, signed
from benchmarks.fuzz_readers import READERS
from benchmarks.fuzz_readers.reader import Reader, content
from datapruning.artifacts.subset import load_subset
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.ffcv import Beton
from datapruning.data.loaders.ffcv_cache import write_beton
from datapruning.errors import InvalidFile

SLOW = {"FFCV cache", "inspect FFCV cache"}
"""FFCV compiles its decoder first."""
NAMES = [name for name in READERS if name not in SLOW and (not name.startswith("inspect") or name.endswith("run folder"))]


@pytest.fixture(scope="module", params=NAMES)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Path, str]:
    """A reader, a folder with valid files for it, and their content."""
    selected = READERS[request.param]
    folder = tmp_path_factory.mktemp("files")
    selected.make(folder)
    return selected, folder, content(selected.read(folder))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_changed_file_is_refused_in_one_line_or_reads_as_before(
    reader: tuple[Reader, Path, str], seed: int, data: st.DataObject
) -> None:
    kind, folder, original = reader
    file = data.draw(st.sampled_from(kind.files))
    original_bytes, ending = (folder / file).read_bytes(), file.rpartition(".")[2]
    changed_bytes, is_plain = changed(original_bytes, ending, random.Random(seed))
    (folder / file).write_bytes(changed_bytes)
    try:
        outcome, reason = judge(kind, folder, original, changed_bytes, ending, is_plain)
    finally:
        (folder / file).write_bytes(original_bytes)
    assert outcome not in FAULTS, reason


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_changes_are_reproducible_and_never_empty(seed: int) -> None:
    original = bytes(range(256)) * 2
    assert changed(original, "txt", random.Random(seed)) == changed(original, "txt", random.Random(seed))
    assert changed(original, "txt", random.Random(seed))[0] != original


def test_the_judge_detects_every_kind_of_fault(tmp_path: Path) -> None:
    """A forged file with valid checksums counts as a silent acceptance, which cannot be detected otherwise."""
    kind = READERS["subset"]
    kind.make(tmp_path)
    original, path = content(kind.read(tmp_path)), tmp_path / "subset.npz"
    subset = load_subset(path)
    type(subset)(subset.indices[1:], subset.meta).save(path)
    assert judge(kind, tmp_path, original, path.read_bytes(), "npz", False)[0] == "silent"
    with np.load(path) as archive:
        meta = json.loads(str(archive["meta"]))
    del meta["checksum"]
    np.savez(path, indices=subset.indices[2:], meta=np.array(json.dumps(meta)))
    assert judge(kind, tmp_path, original, path.read_bytes(), "npz", False)[0] == "refused"
    path.write_bytes(b"")
    assert judge(kind, tmp_path, original, b"", "npz", True)[0] == "refused"

    def fails(folder: Path) -> Any:
        raise KeyError("x")

    assert judge(Reader("x", (), kind.make, fails), tmp_path, original, b"", "npz", True)[0] == "crash"


def test_changes_reach_headers_and_values() -> None:
    values = {str(change_value({"a": 1, "b": ["x"]}, random.Random(seed))) for seed in range(200)}
    assert len(values) > 40
    head = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }".ljust(117) + b"\n"
    assert any(b"10000000000000" in change_npy(head + bytes(12), random.Random(seed)) for seed in range(100))
    assert signed(b'{"checksum": "x"}', "json")
    assert not signed(b"{}", "json")


def test_a_changed_ffcv_cache_is_refused_and_an_unsealed_one_is_not(tmp_path: Path, small_dataset: Dataset) -> None:
    pytest.importorskip("ffcv", reason="FFCV is not installed")
    path = tmp_path / "train.beton"
    write_beton(path, small_dataset.train, np.arange(9))
    content = bytearray(path.read_bytes())
    for offset in (0, 5, 700, len(content) // 2, len(content) - 1):
        content[offset] ^= 1
        path.write_bytes(content)
        with pytest.raises(InvalidFile, match="changed since it was written"):
            Beton(path)
        content[offset] ^= 1
    path.write_bytes(content[:-8])
    (tmp_path / "train.beton.sha256.json").unlink()
    with pytest.raises(InvalidFile, match=r"is not a whole \.beton file"):
        Beton(path)


def test_nested_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("indices.npy", b"PK\x03\x04")
    with pytest.raises(InvalidFile, match=r"no \.npy array"):
        load_subset(tmp_path / "a.npz")
