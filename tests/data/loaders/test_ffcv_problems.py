"""Known problems of FFCV 1.0.2: demonstrated where that is safe, and prevented. docs/guarantees.md lists them."""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.batching import evaluation_batches, training_batches
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile, LoaderError, MissingPackage
from datapruning.training.evaluate import predict

ffcv = pytest.importorskip("ffcv", reason="FFCV is not installed", exc_type=ImportError)

from datapruning.data.loaders.ffcv import Beton, FFCVLoader  # noqa: E402
from datapruning.data.loaders.ffcv_cache import import_ffcv, write_beton  # noqa: E402
from datapruning.data.loaders.ffcv_format import (  # noqa: E402
    ALLOCATION,
    FIELD,
    FIELDS,
    HEADER,
    SAMPLE,
    VERSION,
    image_shape,
)

CPU = torch.device("cpu")
COUNT, SHAPE = 200, (8, 8, 3)


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (COUNT, *SHAPE)).astype(np.uint8), rng.integers(0, 9, COUNT))


@pytest.fixture(scope="module")
def path(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traps") / "train.beton"
    write_beton(path, split, np.arange(COUNT))
    return path


@pytest.fixture(scope="module")
def loader(path: Path, split: Split) -> FFCVLoader:
    return FFCVLoader(path, split.labels, CPU)


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ffcv_unimported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n == "ffcv" or n.startswith("ffcv.")]:
        monkeypatch.delitem(sys.modules, name)


def plain_ffcv(path: Path, **options: Any) -> Any:
    """FFCV's own loader for the ids, as in its documentation."""
    pipelines = {"id": [ffcv.fields.basics.IntDecoder(), ffcv.transforms.ToTensor()], "image": None, "label": None}
    threads = torch.get_num_threads()
    try:
        return ffcv.loader.Loader(
            str(path), batch_size=16, num_workers=1, pipelines=pipelines, order=ffcv.loader.OrderOption.SEQUENTIAL, **options
        )
    finally:
        torch.set_num_threads(threads)


def test_kept_batches_do_not_change(loader: FFCVLoader, path: Path, split: Split) -> None:
    kept = torch.cat([ids for (ids,) in plain_ffcv(path, drop_last=False)])
    assert kept.flatten().tolist() != list(range(COUNT)), "the trap is gone: FFCV's batches no longer share memory"
    batches = np.array_split(np.arange(COUNT), 13)
    ours = list(loader.read(batches))
    np.testing.assert_array_equal(torch.cat([b.images for b in ours]).numpy(), split.images)
    np.testing.assert_array_equal(np.concatenate([b.ids for b in ours]), np.arange(COUNT))


def test_a_subset_smaller_than_the_batch_is_loaded(loader: FFCVLoader, path: Path) -> None:
    assert len(plain_ffcv(path, indices=[1, 2, 3])) == 0, "the trap is gone: FFCV gives the small batch"
    batches = list(loader.read(training_batches(np.array([1, 2, 3]), 512, seed=0, epoch=0)))
    assert [sorted(b.ids.tolist()) for b in batches] == [[1, 2, 3]]


@pytest.mark.parametrize("wrong", [COUNT, -1, 5000])
def test_ids_out_of_range_are_named_before_loading_starts(loader: FFCVLoader, wrong: int) -> None:
    with pytest.raises(LoaderError, match=f"sample id {wrong} is not in"):
        next(loader.read([np.arange(8), np.array([wrong])]))


def test_a_boolean_mask_is_refused(loader: FFCVLoader) -> None:
    with pytest.raises(LoaderError, match=r"got bool \(np\.flatnonzero\(mask\) makes ids of a mask\)"):
        next(loader.read([np.arange(COUNT) % 2 == 0]))


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError("boom"), SystemExit("boom")], ids=repr)
def test_an_exception_in_the_worker_reaches_the_caller(
    loader: FFCVLoader, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[..., Any] = Beton.read

    def failing(self: Beton, positions: np.ndarray) -> Any:
        if positions[0] == 20:
            raise error
        return read(self, positions)

    monkeypatch.setattr(Beton, "read", failing)
    arrived = []
    start_time = time.perf_counter()
    with pytest.raises(LoaderError, match=r"train\.beton failed: .*boom") as error_info:
        for batch in loader.read([np.array([k]) for k in range(100)]):
            arrived.append(batch.ids[0])
    assert time.perf_counter() - start_time < 5
    assert error_info.value.__cause__ is error
    assert arrived == list(range(20))
    assert not any(thread.name.startswith("decoder") for thread in threading.enumerate())


def test_views_do_not_depend_on_any_random_state(loader: FFCVLoader, split: Split) -> None:
    views = Augmentation(AugmentPolicy(), (100.0,) * 3, (50.0,) * 3)
    seen = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            parts = [views.apply(b.images, b.ids, 0) for b in loader.read(np.array_split(np.arange(COUNT), 3 + seed))]
        seen.append(torch.cat(parts))
    assert torch.equal(*seen)
    assert torch.equal(seen[0], views.apply(torch.from_numpy(split.images), np.arange(COUNT), 0))


def test_padding_is_not_counted(loader: FFCVLoader) -> None:
    """Padding of batches does not change how often each sample counts."""
    ids = np.arange(3, COUNT)
    padded = np.concatenate(evaluation_batches(ids, 64))
    assert len(padded) > len(ids), "nothing was padded, the test shows nothing"
    views = Augmentation(AugmentPolicy(), (100.0,) * 3, (50.0,) * 3)
    evaluated_ids = np.concatenate([result for result, _, _ in predict(torch.nn.Flatten(), loader, ids, views, rows=64)])
    np.testing.assert_array_equal(evaluated_ids, ids)


@pytest.mark.usefixtures("ffcv_unimported")
@pytest.mark.parametrize("absent", ["ffcv", "PIL", "cv2"])
def test_a_missing_package_is_named_in_one_line(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    if absent == "PIL":
        for name in [n for n in sys.modules if n.startswith("PIL.")]:
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackage) as error_info:
        import_ffcv()
    line = str(error_info.value)
    assert "\n" not in line
    assert absent in line
    assert "datapruning-toolkit[ffcv]" in line
    assert "choose the loader memory" in line


def test_a_cache_is_read_without_ffcv(path: Path, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ffcv", None)
    (batch,) = FFCVLoader(path, split.labels, CPU).read([np.array([7, 3, 7])])
    np.testing.assert_array_equal(batch.images, split.images[[7, 3, 7]])


def test_the_file_format_is_that_of_ffcv() -> None:
    types = ffcv.types
    assert (types.CURRENT_VERSION, types.HeaderType, types.FieldDescType) == (VERSION, HEADER, FIELD)
    handlers = [ffcv.fields.NDArrayField(np.dtype(np.uint8), (3, 2, 1)), ffcv.fields.IntField(), ffcv.fields.IntField()]
    assert [types.TYPE_ID_HANDLER[number] for number in FIELDS.values()] == [type(handler) for handler in handlers]
    assert types.ALLOC_TABLE_TYPE == ALLOCATION
    sample = types.get_metadata_type(handlers)
    assert [sample[name] for name in sample.names] == [SAMPLE[name] for name in SAMPLE.names]
    assert sample.itemsize == SAMPLE.itemsize
    assert image_shape(np.frombuffer(handlers[0].to_binary().tobytes(), np.uint8)) == (3, 2, 1)


@pytest.mark.usefixtures("three_threads")
def test_using_ffcv_does_not_change_the_thread_count(path: Path, split: Split, tmp_path: Path) -> None:
    fresh = FFCVLoader(path, split.labels, CPU)
    assert len(list(fresh.read([np.arange(9)] * 9))) == 9
    write_beton(tmp_path / "other.beton", split, np.arange(5))
    assert torch.get_num_threads() == 3
    ffcv.pipeline.compiler.Compiler.set_num_threads(1)  # what FFCV's own loader calls
    assert torch.get_num_threads() == 1, "the trap is gone: FFCV leaves torch's threads alone"


@pytest.mark.usefixtures("three_threads", "ffcv_unimported")
def test_importing_ffcv_does_not_change_the_thread_count() -> None:
    import_ffcv()
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads", "ffcv_unimported")
def test_plain_ffcv_changes_the_thread_count() -> None:
    importlib.import_module("ffcv")
    assert torch.get_num_threads() == 1, "the trap is gone: importing FFCV leaves torch's threads alone"


def with_bytes(path: Path, target: Path, change: Callable[[bytearray], bytes | bytearray]) -> Path:
    target.write_bytes(change(bytearray(path.read_bytes())))
    return target


def samples_table(path: Path, content: bytearray) -> np.ndarray:
    """Return a writable view of the table of (pointer, label, id) in `content`."""
    types = ffcv.types
    start = types.HeaderType.itemsize + 3 * types.FieldDescType.itemsize
    kind = np.dtype([("pointer", "<u8"), ("label", "<i8"), ("id", "<i8")])
    return np.frombuffer(content, kind, COUNT, start)


@pytest.mark.parametrize("kept", [0, 1, 20, 2000, 4000, 9_000_000, -24 * COUNT, -30, -1])
def test_a_truncated_file_is_refused(path: Path, split: Split, tmp_path: Path, kept: int) -> None:
    """Plain FFCV reads beyond the end, or crashes. Negative numbers: bytes missing at the end."""
    broken = with_bytes(path, tmp_path / "cut.beton", lambda content: content[:kept])
    assert broken.stat().st_size < path.stat().st_size
    with pytest.raises(InvalidFile, match=r"cut\.beton is not a whole \.beton file"):
        FFCVLoader(broken, split.labels, CPU)


def test_other_files_are_refused(path: Path, split: Split, tmp_path: Path) -> None:
    longer = with_bytes(path, tmp_path / "longer.beton", lambda content: content + b"x")
    text = tmp_path / "text.beton"
    text.write_text("no beton at all\n" * 1000)
    for wrong in (longer, text, tmp_path):
        with pytest.raises(InvalidFile, match=r"is not a whole \.beton file"):
            FFCVLoader(wrong, split.labels, CPU)
    with pytest.raises(InvalidFile, match=r"absent\.beton is not there"):
        FFCVLoader(tmp_path / "absent.beton", split.labels, CPU)


def test_a_file_with_other_fields_is_refused(path: Path, split: Split, tmp_path: Path) -> None:
    renamed = with_bytes(path, tmp_path / "other.beton", lambda content: content.replace(b"label\0", b"index\0", 1))
    with pytest.raises(InvalidFile, match="fields image, index, id instead of image, label, id"):
        FFCVLoader(renamed, split.labels, CPU)


def test_a_file_of_another_number_of_samples_is_refused(path: Path, split: Split) -> None:
    with pytest.raises(InvalidFile, match="holds 200 samples, 199 are expected"):
        FFCVLoader(path, split.labels[:199], CPU)
    with pytest.raises(InvalidFile, match="holds 200 samples, 2 are expected"):
        FFCVLoader(path, split.labels, CPU, ids=np.array([0, 1]))


def test_misplaced_ids_are_detected(path: Path, split: Split, tmp_path: Path) -> None:
    moved = tmp_path / "moved.beton"
    content = bytearray(path.read_bytes())
    samples_table(path, content)["id"][[10, 11]] = [11, 10]
    moved.write_bytes(content)
    damaged = FFCVLoader(moved, split.labels, CPU)
    assert len(list(damaged.read([np.arange(10)]))) == 1
    with pytest.raises(LoaderError, match=r"moved\.beton is damaged"):
        list(damaged.read([np.arange(5, 15)]))


@pytest.mark.parametrize("pointer", [2**62, 2**64 - 1])
def test_a_pointer_out_of_the_file_is_not_followed(path: Path, split: Split, tmp_path: Path, pointer: int) -> None:
    content = bytearray(path.read_bytes())
    samples_table(path, content)["pointer"][7] = pointer
    target = tmp_path / "wild.beton"
    target.write_bytes(content)
    with pytest.raises(InvalidFile, match="images outside the file"):
        FFCVLoader(target, split.labels, CPU)


def test_a_file_may_be_deleted_while_it_is_open(path: Path, split: Split, tmp_path: Path) -> None:
    copy = tmp_path / "copy.beton"
    shutil.copy(path, copy)
    loader = FFCVLoader(copy, split.labels, CPU)
    copy.unlink()
    np.testing.assert_array_equal(next(loader.read([np.arange(COUNT)])).images.numpy(), split.images)


def test_the_digits_are_loaded_completely(digits: Dataset, tmp_path: Path) -> None:
    ids = np.arange(digits.total)
    write_beton(tmp_path / "digits.beton", digits.train, ids)
    read = FFCVLoader(tmp_path / "digits.beton", digits.train.labels, CPU).read(training_batches(ids, 100, 0, 0))
    for batch in read:
        np.testing.assert_array_equal(batch.images.numpy(), digits.train.images[batch.ids])
