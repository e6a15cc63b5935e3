"""Loaders: exactly the requested samples, equal bits of all loaders, and clear errors."""

from __future__ import annotations

import importlib.util
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.data.dataset import Dataset, Split
from datapruning.data.loaders import factory as choose
from datapruning.data.loaders.factory import open_loader, resolve_device, resolve_loader
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.data.loaders.split_loaders import InMemoryLoader
from datapruning.errors import InvalidValue, LoaderError, UnknownName

CPU = torch.device("cpu")
COUNT, SHAPE = 150, (6, 5, 3)
no_ffcv = importlib.util.find_spec("ffcv") is None
needs_ffcv = pytest.mark.skipif(no_ffcv, reason="FFCV is not installed")


def split_of(count: int, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, *SHAPE)).astype(np.uint8), rng.integers(0, 7, count))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset("loaders", split_of(COUNT), split_of(40, seed=1), tuple("abcdefg"))


@pytest.fixture(scope="module", params=[pytest.param("ffcv", marks=needs_ffcv), "mmap", "memory"])
def loader(request: pytest.FixtureRequest, data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Loader:
    return open_loader(data, "train", request.param, CPU, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def both(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Loader, Loader]:
    if no_ffcv:
        pytest.skip("FFCV is not installed")
    root = tmp_path_factory.mktemp("cache")
    return open_loader(data, "train", "ffcv", CPU, root), open_loader(data, "train", "memory", CPU, root)


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decoder")]


def assert_right(batch: Batch, ids: np.ndarray, split: Split) -> None:
    assert batch.images.dtype == torch.uint8
    assert batch.labels.dtype == torch.int64
    np.testing.assert_array_equal(batch.ids, ids)
    np.testing.assert_array_equal(batch.images.numpy(), split.images[ids])
    np.testing.assert_array_equal(batch.labels.numpy(), split.labels[ids])


id_batches = st.lists(st.lists(st.integers(0, COUNT - 1), max_size=80), max_size=8)


@given(id_batches)
@settings(max_examples=60)
def test_both_loaders_give_the_same_bits_for_any_ids(both: tuple[Loader, Loader], batches: list[list[int]]) -> None:
    wanted = [np.array(ids, np.int64) for ids in batches]
    for ids, one, other in zip(wanted, both[0].read(wanted), both[1].read(wanted), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.ids, ids)
        np.testing.assert_array_equal(other.ids, ids)


def test_every_sample_arrives_with_its_label_and_id(loader: Loader, data: Dataset) -> None:
    assert len(loader) == COUNT
    batches = [np.arange(COUNT)[::-1].copy(), np.array([5, 5, 5]), np.array([149]), np.arange(0, COUNT, 7)]
    answers = list(loader.read(batches))
    assert len(answers) == len(batches)
    for batch, ids in zip(answers, batches, strict=True):
        assert_right(batch, ids, data.train)


def test_a_kept_batch_does_not_change(loader: Loader, data: Dataset) -> None:
    batches = np.array_split(np.arange(COUNT), 30)
    for batch, ids in zip(list(loader.read(batches)), batches, strict=True):
        assert_right(batch, ids, data.train)


def test_a_batch_belongs_to_the_caller(loader: Loader, data: Dataset) -> None:
    """Modifying a batch changes neither the data nor later batches."""
    ids = np.arange(20)
    for _ in range(2):
        for batch in loader.read([ids, ids]):
            assert_right(batch, ids, data.train)
            batch.images.zero_()
            batch.labels.fill_(-1)


@pytest.mark.parametrize("wrong", [-1, COUNT, 2**40])
def test_an_id_out_of_range_is_named_before_anything_is_read(loader: Loader, wrong: int) -> None:
    batches = loader.read([np.arange(3), np.array([4, wrong])])
    with pytest.raises(LoaderError, match=rf"sample id {wrong} is not in 0\.\.{COUNT - 1}"):
        next(batches)  # the first batch would have been fine
    assert not decoders()


@pytest.mark.parametrize(
    ("wrong", "kind"), [(np.ones(COUNT, bool), "bool"), (np.arange(3.0), "float64")], ids=["mask", "floats"]
)
def test_masks_and_floats_are_refused_as_ids(loader: Loader, wrong: np.ndarray, kind: str) -> None:
    with pytest.raises(LoaderError, match=f"got {kind}.*flatnonzero"):
        next(loader.read([np.arange(3), wrong]))


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.uint64])
def test_ids_of_any_integer_type_are_ids(loader: Loader, data: Dataset, kind: type) -> None:
    ids = np.array([3, 140, 0], kind)
    assert_right(next(loader.read([ids])), ids.astype(np.int64), data.train)


def test_ids_may_be_read_only_or_reversed_views(loader: Loader, data: Dataset) -> None:
    ids = np.arange(9)[::-1]
    ids.flags.writeable = False
    assert_right(next(loader.read([ids])), ids, data.train)


def test_requesting_no_samples_returns_none(loader: Loader) -> None:
    assert list(loader.read([])) == []
    assert [len(b.ids) for b in loader.read([np.array([], np.int64)])] == [0]


def test_leaving_an_iteration_early_ends_its_thread(loader: Loader) -> None:
    batches = loader.read([np.arange(10)] * 100)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not decoders()
    for _ in loader.read([np.arange(10)] * 100):
        break
    assert not decoders()


def test_two_concurrent_epochs_are_independent(loader: Loader, data: Dataset) -> None:
    forward = np.array_split(np.arange(COUNT), 10)
    backward = [ids[::-1].copy() for ids in reversed(forward)]
    pairs = zip(list(zip(loader.read(forward), loader.read(backward), strict=True)), forward, backward, strict=True)
    for (one, other), ids, others in pairs:
        assert_right(one, ids, data.train)
        assert_right(other, others, data.train)


def test_batches_do_not_depend_on_pauses(loader: Loader, data: Dataset) -> None:
    batches = [np.arange(k, k + 5) for k in range(20)]
    for batch, ids in zip(loader.read(batches), batches, strict=True):
        threading.Event().wait(0.02)
        assert_right(batch, ids, data.train)


def test_each_split_has_its_loader(data: Dataset, tmp_path: Path) -> None:
    for kind in ["memory", "mmap"] if no_ffcv else ["memory", "mmap", "ffcv"]:
        ids = np.arange(40)
        loader = open_loader(data, "test", kind, CPU, tmp_path)
        assert loader.kind == kind
        assert_right(next(loader.read([ids])), ids, data.test)


def test_read_only_images_are_served_without_a_warning() -> None:
    split = split_of(5)
    split.images.flags.writeable = False
    assert_right(next(InMemoryLoader(split, CPU).read([np.arange(5)])), np.arange(5), split)


def test_loader_names(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_loader("ffcv", data, CPU) == "ffcv"
    assert resolve_loader("mmap", data, CPU) == "mmap"
    assert resolve_loader("memory", data, CPU) == "memory"
    with pytest.raises(UnknownName, match="did you mean 'memory'"):
        resolve_loader("memroy", data, CPU)
    size = data.train.images.nbytes + data.test.images.nbytes
    for device, small, expected in ((object(), size, "ffcv"), (object(), size + 1, "memory"), (None, size, "memory")):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, device=device: device)
        monkeypatch.setattr(choose, "MIN_FFCV_BYTES", small)
        assert resolve_loader("auto", data, CPU) == expected
        assert resolve_loader("auto", replace(data, content_hash="of files"), CPU) == "mmap"  # they lie decoded on the disk


def test_auto_is_memory_on_a_gpu_with_enough_memory(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(choose, "MIN_FFCV_BYTES", 0)
    size = data.train.images.nbytes + data.test.images.nbytes
    for free, expected in ((4 * size + 1, "memory"), (4 * size, "ffcv")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * size))
        assert resolve_loader("auto", data, torch.device("cuda")) == expected
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert resolve_loader("auto", data, torch.device("cuda")) == "mmap", "what does not fit does not go onto the GPU"


def test_device_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == CPU
    with pytest.raises(InvalidValue, match="'gpu' is not one of auto, cpu, cuda"):
        resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    with pytest.raises(InvalidValue, match="finds no GPU"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


@needs_ffcv
class TestCompactCache:
    """A `.beton` of a subset, read by sample id."""

    IDS = np.array([2, 3, 50, 149])

    @pytest.fixture
    def compact(self, data: Dataset, tmp_path: Path) -> Loader:
        from datapruning.data.loaders.ffcv import FFCVLoader
        from datapruning.data.loaders.ffcv_cache import ensure_subset_cache

        path = ensure_subset_cache(data, self.IDS, tmp_path / "subset.beton")
        return FFCVLoader(path, data.train.labels, CPU, self.IDS)

    def test_it_is_read_by_sample_id(self, compact: Loader, data: Dataset) -> None:
        batches = [np.array([149, 2]), np.array([50, 50, 3])]
        for batch, ids in zip(compact.read(batches), batches, strict=True):
            assert_right(batch, ids, data.train)

    @pytest.mark.parametrize("absent", [0, 4, 148])
    def test_ids_that_are_not_in_it_are_refused_before_anything_is_read(self, compact: Loader, absent: int) -> None:
        with pytest.raises(LoaderError, match=f"sample id {absent} is not in the compact cache"):
            next(compact.read([self.IDS, np.array([2, absent])]))
        assert not decoders()
