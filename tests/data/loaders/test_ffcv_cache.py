"""The FFCV cache: written once and atomically by one process, and readable with plain FFCV."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing import shared_memory
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from datapruning.data.dataset import Dataset, Split
from datapruning.data.loaders.factory import open_loader
from datapruning.data.registry import open_dataset
from datapruning.errors import InvalidFile

ffcv = pytest.importorskip("ffcv", reason="FFCV is not installed", exc_type=ImportError)

from datapruning.data.loaders import ffcv_cache as cache  # noqa: E402
from datapruning.data.loaders.ffcv import Beton  # noqa: E402
from datapruning.data.loaders.ffcv_cache import beton_bytes, cache_folder, ensure_cache, ensure_subset_cache, write_beton  # noqa: E402


def data_of(count: int = 30, side: int = 8, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)

    def split(size: int) -> Split:
        images = rng.integers(0, 256, (size, side, side, 1)).astype(np.uint8)
        return Split(images, np.arange(size, dtype=np.int64) % 3)

    return Dataset("cached", split(count), split(10), ("a", "b", "c"))


def test_it_is_written_once(tmp_path: Path) -> None:
    data = data_of()
    path = ensure_cache(data, "train", tmp_path)
    written = path.stat()
    assert ensure_cache(data, "train", tmp_path) == path
    assert path.stat().st_mtime_ns == written.st_mtime_ns
    assert path.stat().st_ino == written.st_ino
    assert ensure_cache(data, "test", tmp_path) != path


def test_another_dataset_has_another_folder(tmp_path: Path) -> None:
    assert cache_folder(data_of(), tmp_path) == cache_folder(data_of(), tmp_path)
    assert cache_folder(data_of(), tmp_path) != cache_folder(data_of(seed=1), tmp_path)


class Failing:
    """Images whose last one raises an error."""

    def __init__(self, images: np.ndarray, error: BaseException) -> None:
        self._images, self._error = images, error

    def __getitem__(self, sample: int) -> np.ndarray:
        if sample == len(self._images) - 1:
            raise self._error
        image: np.ndarray = self._images[sample]
        return image


@pytest.mark.parametrize("error", [OSError("disk gone"), KeyboardInterrupt()], ids=repr)
def test_a_failed_write_leaves_no_file(tmp_path: Path, error: BaseException) -> None:
    complete = data_of().train
    split: Any = SimpleNamespace(images=Failing(complete.images, error), labels=complete.labels, shape=complete.shape)
    with pytest.raises(type(error)):
        write_beton(tmp_path / "train.beton", split, np.arange(30))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path, complete = tmp_path / "train.beton", data_of().train
    write_beton(path, complete, np.arange(30))
    before = path.read_bytes()
    split: Any = SimpleNamespace(images=Failing(complete.images, OSError()), labels=complete.labels, shape=complete.shape)
    with pytest.raises(OSError, match=r"^$"):
        write_beton(path, split, np.arange(30))
    assert path.read_bytes() == before


WRITER = """
import sys, time
from pathlib import Path
from datapruning.data import registry
from datapruning.data.loaders import ffcv_cache
root = Path(sys.argv[1])
whole = ffcv_cache.write_beton
def slowly(*arguments):
    (root / "writing").touch()
    while not (root / "somebody waits").exists():
        time.sleep(0.01)
    whole(*arguments)
ffcv_cache.write_beton = slowly
ffcv_cache.ensure_cache(registry.open_dataset(str(root / "data.npz")), "train", root)
"""


def test_one_process_writes_and_another_waits_with_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = data_of()
    arrays = {
        f"{role}_{part}": getattr(dataset.split(role), part) for role in ("train", "test") for part in ("images", "labels")
    }
    np.savez(tmp_path / "data.npz", **arrays)
    data = open_dataset(str(tmp_path / "data.npz"))
    messages: list[str] = []

    def say(line: str) -> None:
        messages.append(line)
        (tmp_path / "somebody waits").touch()

    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stderr=subprocess.DEVNULL) as other:
        while not (tmp_path / "writing").exists():
            assert other.poll() is None
            time.sleep(0.01)
        monkeypatch.setattr("datapruning.io.locks.info", say)
        monkeypatch.setattr(cache, "write_beton", lambda *_: pytest.fail("written twice"))
        path = ensure_cache(data, "train", tmp_path)
        assert other.wait(60) == 0
    assert messages == [f"another process is writing {path}; waiting for it"]
    np.testing.assert_array_equal(Beton(path).read(np.arange(30, dtype=np.uint64))[0], data.train.images)


def test_the_file_is_readable_with_plain_ffcv(tmp_path: Path) -> None:
    data = data_of(60)
    path = ensure_cache(data, "train", tmp_path)
    threads = torch.get_num_threads()
    try:
        loader = ffcv.loader.Loader(
            str(path), batch_size=25, num_workers=1, drop_last=False, order=ffcv.loader.OrderOption.SEQUENTIAL
        )
        columns: dict[str, list[torch.Tensor]] = {"image": [], "label": [], "id": []}
        for batch in loader:
            for parts, tensor in zip(columns.values(), batch, strict=True):
                parts.append(tensor.clone())
    finally:
        torch.set_num_threads(threads)
    image, label, sample = (torch.cat(parts).numpy() for parts in columns.values())
    np.testing.assert_array_equal(image, data.train.images)
    np.testing.assert_array_equal(label.ravel(), data.train.labels)
    np.testing.assert_array_equal(sample.ravel(), np.arange(60))


def test_a_compact_cache_holds_the_subset_with_its_ids(tmp_path: Path) -> None:
    data, ids = data_of(60), np.array([3, 4, 59])
    path = ensure_subset_cache(data, ids, tmp_path / "deep" / "subset.beton")
    images, read_ids = Beton(path).read(np.arange(3, dtype=np.uint64))
    np.testing.assert_array_equal(images, data.train.images[ids])
    np.testing.assert_array_equal(read_ids, ids)


def split_like(count: int, shape: tuple[int, int, int]) -> Any:
    """A split of any size in the memory of one image."""
    return Split(np.broadcast_to(np.uint8(7), (count, *shape)), np.zeros(count, np.int64))


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, (1, 1, 1)), (400, (40, 40, 3)), (20_000, (32, 32, 3)), (9, (1000, 1000, 3)), (2, (1672, 1672, 3))],
)
def test_the_estimated_size_is_exact(tmp_path: Path, count: int, shape: tuple[int, int, int]) -> None:
    path, split = tmp_path / "x.beton", split_like(count, shape)
    write_beton(path, split, np.arange(count))
    assert path.stat().st_size == beton_bytes(split, count)


def test_images_larger_than_a_page_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"12\.0 MB are too large for a raw cache"):
        write_beton(tmp_path / "x.beton", split_like(2, (2000, 2000, 3)), np.arange(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm here")
def test_no_process_is_forked_and_no_shared_memory_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> int:
        raise AssertionError("forked")

    created: set[str] = set()  # other tests and programs have theirs in /dev/shm
    original = shared_memory.SharedMemory

    def watched(*arguments: Any, **options: Any) -> shared_memory.SharedMemory:
        memory = original(*arguments, **options)
        created.add(memory.name)
        return memory

    monkeypatch.setattr(os, "fork", forbidden)
    monkeypatch.setattr(shared_memory, "SharedMemory", watched)
    ensure_cache(data_of(), "train", tmp_path)
    assert created, "FFCV's writer works without, and this test can go"
    assert created.isdisjoint(os.listdir("/dev/shm"))
    assert multiprocessing.active_children() == []


def test_the_files_mode_lets_others_read(tmp_path: Path) -> None:
    assert ensure_cache(data_of(), "train", tmp_path).stat().st_mode & 0o777 == 0o644


def test_an_open_loader_survives_that_its_cache_is_written_again(tmp_path: Path) -> None:
    data, ids = data_of(), np.arange(30)
    loader = open_loader(data, "train", "ffcv", torch.device("cpu"), tmp_path)
    write_beton(ensure_cache(data, "train", tmp_path), data_of(seed=9).train, ids)
    np.testing.assert_array_equal(next(loader.read([ids])).images.numpy(), data.train.images)
