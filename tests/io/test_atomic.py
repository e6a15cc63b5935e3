"""Files are complete or do not exist, open with numpy, and are checked when read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from datapruning.errors import InvalidFile
from datapruning.io.atomic import atomic_write, write_text
from datapruning.io.disk_space import format_bytes
from datapruning.io.json import read_json, write_json
from datapruning.io.npz import read_npz, write_npz

QUICK = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
META = {"format": "test", "numbers": [1, 2.5], "words": 'ü"\\\n'}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path, error: type[BaseException], old: str | None) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_umask_gives(tmp_path: Path, umask: int, mode: int) -> None:
    path, before = tmp_path / "file", os.umask(umask)
    try:
        write_text(path, "text")
        write_npz(path.with_suffix(".npz"), {"a": np.arange(3)}, {})
    finally:
        os.umask(before)
    assert [stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()] == [mode, mode]


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_text(path, "old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent, "a rename is atomic only inside one file system"
        assert temporary.name.startswith("."), "listings do not show it"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@QUICK
@given(arrays.arrays(st.sampled_from([np.float32, np.int64, np.uint8]), arrays.array_shapes(max_dims=3)))
def test_arrays_and_metadata_round_trip(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    write_npz(tmp_path / "a.npz", {"array": array}, META)
    result, meta = read_npz(tmp_path / "a.npz", "a test")
    assert meta == META
    assert result["array"].dtype == array.dtype
    np.testing.assert_array_equal(result["array"], array)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["array", "meta"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_truncation_is_a_bad_file(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    save(path, a=np.arange(50), meta="{}")
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(InvalidFile, match=r"a\.npz"):
            read_npz(path, "a test")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@settings(QUICK, max_examples=200)
@given(data=st.data())
def test_a_flipped_bit_is_detected_or_harmless(tmp_path: Path, save: Any, data: st.DataObject) -> None:
    path = tmp_path / "a.npz"
    save(path, a=np.arange(50), meta="{}")
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        arrays, meta = read_npz(path, "a test")
    except InvalidFile:
        return
    assert meta == {}
    assert [v.tolist() for v in arrays.values()] == [list(range(50))]


def test_pickles_texts_folders_and_holes_are_bad_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "object.npz", a=np.array([{}], object), meta="{}")
    np.save(tmp_path / "array.npy", np.arange(3))
    np.save(tmp_path / "object.npy", np.array([{}], object))
    np.savez(tmp_path / "no-meta.npz", a=np.arange(3))
    np.savez(tmp_path / "list.npz", meta="[]")
    np.savez(tmp_path / "broken.npz", meta="{")
    (tmp_path / "text").write_text("nothing")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    for path in [*tmp_path.iterdir(), tmp_path / "absent"]:
        with pytest.raises(InvalidFile, match=path.name):
            read_npz(path, "a test")


def test_json_round_trips_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", META)
    assert read_json(tmp_path / "a.json") == META
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "nan.json", {"a": float("nan")})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"a": NaN}'])
def test_files_without_a_json_object_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    for path in (tmp_path / "a.json", tmp_path / "absent", tmp_path):
        with pytest.raises(InvalidFile, match=path.name):
            read_json(path)


def test_sizes_are_formatted() -> None:
    assert [format_bytes(n) for n in (0, 999, 1234567, 2e12)] == ["0 bytes", "999 bytes", "1.2 MB", "2.0 TB"]
