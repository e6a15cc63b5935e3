"""The soft-label cache: independent of the process that fills it, resumable, and refused for another teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datapruning.api.teach import teach
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.io.json import read_json, write_json
from datapruning.models.weights import hash_weights
from datapruning.runs.context import Context
from datapruning.teachers.load import Teacher, load_teacher
from datapruning.teachers.soft_label_store import row_batches
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.training.evaluate import batch_logits
from tests.helpers.read_only import read_only

MakeContext = Callable[..., Context]


@given(st.sets(st.integers(0, 5000), min_size=1, max_size=400), st.sampled_from([1, 4, 32, 256]))
def test_every_id_is_in_its_fixed_row(ids: set[int], rows: int) -> None:
    batches = row_batches(np.array(sorted(ids)), rows)
    assert all(len(batch) == rows for batch in batches)
    table = np.stack(batches)
    in_order = table % rows == np.arange(rows)
    assert set(table[in_order].tolist()) >= ids
    assert set(table.ravel().tolist()) <= ids
    crowded = np.bincount(np.array(sorted(ids)) % rows).max()
    assert len(batches) == crowded


def cache_of(context: Context, teacher: Teacher) -> SoftLabelCache:
    """Return a teacher's cache for the context's data."""
    data = context.data
    return SoftLabelCache(teacher, context.views, data.fingerprint, data.total, data.classes)


@pytest.fixture
def teacher_context(make_context: MakeContext, digits: Dataset) -> tuple[Context, Teacher]:
    """Make a context on the digits and a teacher for it."""
    context = make_context(digits, "teacher.epochs=2", "views.num_views=3")
    return context, load_teacher(teach(context).folder, digits, context.device)


def other_folder(teacher: Teacher, folder: Path) -> Teacher:
    """Return the same teacher with its labels in another folder."""
    return Teacher(teacher.model, folder, teacher.weights_hash)


def test_soft_labels_do_not_depend_on_who_computes_them_first(
    teacher_context: tuple[Context, Teacher], tmp_path: Path
) -> None:
    context, teacher = teacher_context
    loader, total = context.loader("train"), context.data.total
    at_once = cache_of(context, other_folder(teacher, tmp_path / "a"))
    assert at_once.fill(loader, np.arange(total), range(2)) == 2 * total
    piecewise = cache_of(context, other_folder(teacher, tmp_path / "b"))
    order = np.random.default_rng(0).permutation(total)
    for ids in (order[:5], order[3:400], order[700:], order):
        piecewise.fill(loader, np.sort(ids), range(2))
    assert piecewise.fill(loader, np.arange(total), range(2)) == 0
    for epoch in (0, 1):
        assert torch.equal(at_once[np.arange(total), epoch], piecewise[np.arange(total), epoch])


def test_labels_are_the_teachers_logits_of_that_view_to_float16(teacher_context: tuple[Context, Teacher]) -> None:
    context, teacher = teacher_context
    ids = np.arange(100)
    labels = cache_of(context, teacher)
    labels.fill(context.loader("train"), ids, range(10))
    for epoch in (0, 2, 4):
        (_, fresh), *_ = batch_logits(teacher.model, context.loader("train"), [ids], context.views, epoch=epoch)
        torch.testing.assert_close(labels[ids, epoch], fresh, rtol=2e-3, atol=2e-3)
        assert torch.equal(labels[ids, epoch], labels[ids, epoch + 3])  # V = 3 views, again and again
    assert not torch.equal(labels[ids, 0], labels[ids, 1])


def test_only_requested_labels_are_computed_and_others_are_refused(teacher_context: tuple[Context, Teacher]) -> None:
    context, teacher = teacher_context
    labels = cache_of(context, teacher)
    assert labels.fill(context.loader("train"), np.array([3, 900]), range(1)) == 2
    with pytest.raises(InvalidValue, match="no soft label for sample id 4 in view 0"):
        labels[np.array([3, 4]), 0]
    with pytest.raises(InvalidValue, match="no soft label for sample id 3 in view 1"):
        labels[np.array([3]), 1]


def test_a_killed_fill_resumes(
    teacher_context: tuple[Context, Teacher], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context, teacher = teacher_context
    loader, all_ids = context.loader("train"), np.arange(context.data.total)
    from datapruning.teachers import soft_label_store, soft_labels

    uninterrupted = cache_of(context, other_folder(teacher, tmp_path / "whole"))
    uninterrupted.fill(loader, all_ids, range(1))
    monkeypatch.setattr(soft_label_store, "FLUSH_SECONDS", 0.0)
    original = batch_logits
    served = []

    def dies_at_the_third(*args: object, **options: object) -> object:
        for item in original(*args, **options):  # type: ignore[arg-type]
            served.append(1)
            if len(served) == 3:
                raise KeyboardInterrupt
            yield item

    killed = other_folder(teacher, tmp_path / "killed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(soft_labels, "batch_logits", dies_at_the_third)
        cache_of(context, killed).fill(loader, all_ids, range(1))
    repeated = cache_of(context, killed)
    assert 0 < repeated.fill(loader, all_ids, range(1)) < context.data.total
    assert torch.equal(repeated[all_ids, 0], uninterrupted[all_ids, 0])


def test_another_policy_has_another_folder_and_a_changed_manifest_is_refused(
    teacher_context: tuple[Context, Teacher], make_context: MakeContext, digits: Dataset
) -> None:
    context, teacher = teacher_context
    first = cache_of(context, teacher)
    for change in ("views.seed=1", "views.num_views=4", "views.crop=2"):
        assert cache_of(make_context(digits, "views.num_views=3", change), teacher).folder != first.folder
    manifest = read_json(first.folder / "manifest.json")
    write_json(first.folder / "manifest.json", {**manifest, "teacher": "somebody else"})
    with pytest.raises(IncompatibleInputs, match="another teacher"):
        cache_of(context, teacher)


def test_broken_arrays_are_refused(teacher_context: tuple[Context, Teacher]) -> None:
    context, teacher = teacher_context
    folder = cache_of(context, teacher).folder
    (folder / "logits.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(InvalidFile, match="holds no whole array of soft labels"):
        cache_of(context, teacher)


def test_several_teachers_are_stacked(teacher_context: tuple[Context, Teacher], tmp_path: Path) -> None:
    context, teacher = teacher_context
    caches = [cache_of(context, other_folder(teacher, tmp_path / name)) for name in "ab"]
    for entry in caches:
        entry.fill(context.loader("train"), np.arange(10), range(1))
    both = TeacherLabels(caches)[np.arange(10), 0]
    assert both.shape == (2, 10, 10)
    assert torch.equal(both[0], both[1])


def test_the_hash_of_the_weights_sees_every_bit() -> None:
    weights = {"a": torch.zeros(3, 2), "b": torch.tensor(1)}
    first = hash_weights(weights)
    assert hash_weights(dict(reversed(weights.items()))) == first
    assert hash_weights({**weights, "b": torch.tensor(2)}) != first
    assert hash_weights({**weights, "a": torch.zeros(2, 3)}) != first
    changed = torch.zeros(3, 2)
    changed[2, 1] = 1e-30
    assert hash_weights({**weights, "a": changed}) != first


def test_an_unfinished_or_foreign_run_does_not_teach(
    teacher_context: tuple[Context, Teacher], small_dataset: Dataset, make_context: MakeContext, tmp_path: Path
) -> None:
    context, teacher = teacher_context
    with pytest.raises(InvalidFile, match="'dprune teach' makes one"):
        load_teacher(tmp_path / "absent", context.data, context.device)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidFile, match="no finished run"):
        load_teacher(tmp_path / "empty", context.data, context.device)
    with pytest.raises(IncompatibleInputs, match="knows 10 classes, generated has 4"):
        load_teacher(teacher.folder, small_dataset, context.device)


def test_a_teacher_that_may_not_be_written_has_its_missing_labels_in_the_own_folder(
    teacher_context: tuple[Context, Teacher], tmp_path: Path
) -> None:
    context, teacher = teacher_context
    data, loader, ids, own = context.data, context.loader("train"), np.arange(0, 600, 3), tmp_path / "own"

    def open_cache(of: Teacher = teacher, folder: Path | None = own) -> SoftLabelCache:
        return SoftLabelCache(of, context.views, data.fingerprint, data.total, data.classes, folder)

    shared = open_cache()
    assert shared.fill(loader, ids[:50], range(1)) == 50
    assert not own.exists()
    expected = open_cache(other_folder(teacher, tmp_path / "elsewhere"))
    expected.fill(loader, ids, range(2))
    files = {path: path.read_bytes() for path in shared.folder.iterdir()}
    with read_only(teacher.folder):
        cache = open_cache()
        assert cache.folder == shared.folder
        assert cache.store.missing(ids, 0).size == 150
        assert torch.equal(cache[ids[:50], 0], expected[ids[:50], 0]), "nothing is written to read"
        assert not own.exists()
        assert cache.fill(loader, ids, range(2)) == 150 + 200
        assert [folder.parent for folder in own.rglob("manifest.json")] == [cache.folder] == [own / shared.folder.name]
        for epoch in range(2):
            assert torch.equal(cache[ids, epoch], expected[ids, epoch])
        again = open_cache()
        assert again.fill(loader, ids, range(2)) == 0
        assert torch.equal(again[ids, 0], expected[ids, 0])
        assert again.cost(10).evaluated == 10
        with pytest.raises(InvalidValue, match="no soft label for sample id 1 in view 0"):
            again[np.array([0, 1]), 0]
        with pytest.raises(InvalidFile, match="cannot be written"):
            open_cache(folder=None).fill(loader, ids, range(2))
    assert files == {path: path.read_bytes() for path in shared.folder.iterdir() if not path.name.startswith(".")} | {
        path: content for path, content in files.items() if path.name.startswith(".")
    }


def test_a_teacher_without_labels_that_may_not_be_written(teacher_context: tuple[Context, Teacher], tmp_path: Path) -> None:
    context, teacher = teacher_context
    data, ids = context.data, np.arange(20)
    with read_only(teacher.folder):
        cache = SoftLabelCache(teacher, context.views, data.fingerprint, data.total, data.classes, tmp_path / "own")
        assert cache.fill(context.loader("train"), ids, range(1)) == 20
        assert cache[ids, 0].shape == (20, data.classes)
