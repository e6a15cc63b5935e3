"""docs/guarantees.md: every test that it names exists; and guarantees that span several modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.api.score import score
from datapruning.api.select import select
from datapruning.api.teach import teach
from datapruning.api.train import train as train_student
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.data.image_folder.decode_cache import decode_splits
from datapruning.data.image_folder.image_files import ImageFiles
from datapruning.data.image_folder.stored_images import ImageFormat
from datapruning.runs.context import Context
from datapruning.teachers.load import Teacher, load_teacher
from datapruning.teachers.soft_label_store import ROWS, row_batches
from datapruning.teachers.soft_labels import SoftLabelCache
from datapruning.training.evaluate import batch_logits
from datapruning.training.losses import CrossEntropy, DistillationLoss, kd_loss
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_steps
from datapruning.utils.system import PROJECT_ROOT
from tests.helpers.image_files import make_image_folder
from tests.helpers.trainers import fit

MakeContext = Callable[..., Context]
TESTS = PROJECT_ROOT / "tests"
PAGE = PROJECT_ROOT / "docs" / "guarantees.md"
INPUTS = PROJECT_ROOT / "docs" / "inputs.md"
SHORT = TrainConfig(epochs=2, batch_size=16, lr=0.05)


def rows(page: Path = PAGE) -> Iterator[str]:
    """Yield the rows of a page's tables without headers."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|") and not line.startswith("|--") and before.startswith("|"):
            yield line


def functions_in(path: Path) -> set[str]:
    """Return the names of the functions of a file."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", [PAGE, INPUTS])
def test_every_guarantee_names_existing_tests(page: Path) -> None:
    promised = list(rows(page))
    assert len(promised) > 40
    for row in promised:
        message = re.findall(r"`([\w/]*test_\w+\.py)::(test_\w+)`", row.rsplit("|", 2)[1])
        assert message, row
        for file, name in message:
            assert (TESTS / file).exists(), f"{file}: {row}"
            assert name in functions_in(TESTS / file), f"{file}::{name}: {row}"


def test_every_prevention_for_ffcv_is_on_the_page() -> None:
    listed = PAGE.read_text(encoding="utf-8")
    fences = {name for name in functions_in(TESTS / "data/loaders/test_ffcv_problems.py") if name.startswith("test_")}
    listed_fences = {name for name in fences if f"::{name}`" in listed}
    unlisted = {
        "test_a_cache_is_read_without_ffcv",
        "test_the_file_format_is_that_of_ffcv",
        "test_other_files_are_refused",
        "test_the_digits_are_loaded_completely",
        "test_plain_ffcv_changes_the_thread_count",
    }
    assert fences - listed_fences <= unlisted, "not dangerous alone"


# Loaders and their threads ----------------------------------------------------------------------------------------------


def test_scores_subsets_teachers_and_students_have_the_same_bits_on_both_loaders(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("ffcv", reason="FFCV is not installed")
    results = []
    for loader in ("memory", "ffcv"):
        context = make_context(small_dataset, loader=loader, workspace=tmp_path / loader)
        scores = score(context, "forgetting")
        subset = select(scores, 0.5)
        teacher = teach(context)
        student = train_student(context, subset, teacher=teacher, kd_weight=0.5)
        weights = [(run.folder / "model.safetensors").read_bytes() for run in (teacher, student)]
        results.append((scores.values.tobytes(), subset.indices.tobytes(), *weights))
    assert results[0] == results[1]


@pytest.mark.parametrize("quality", [None, 90])
def test_any_number_of_threads_decodes_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quality: int | None
) -> None:
    paths = sorted(make_image_folder(tmp_path / "pets").rglob("*.*"))
    decoded = []
    for count in (1, 2, 7):
        for module in ("decode_cache", "stored_images"):
            monkeypatch.setattr(f"datapruning.data.image_folder.{module}.available_cpus", lambda count=count: count)
        labels = np.zeros(len(paths), np.int64)
        image_files = ImageFiles(tuple(p.name for p in paths), labels, lambda i: paths[i].read_bytes(), lambda: "key")
        images = decode_splits(
            "pets", {"train": image_files}, ImageFormat(16, quality), tmp_path / str(count), skip_unreadable=False
        )["train"]
        decoded.append((np.asarray(images.images).tobytes(), images.manifest.content_hash))
    assert decoded[0] == decoded[1] == decoded[2]


@pytest.mark.parametrize("loader", ["memory", "ffcv"])
def test_the_order_of_ids_does_not_change_the_bits(make_context: MakeContext, small_dataset: Dataset, loader: str) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv", reason="FFCV is not installed")
    context, ids = make_context(small_dataset, loader=loader), np.arange(0, 120, 2)
    trained = []
    for order in (ids, ids[::-1].copy(), np.random.default_rng(0).permutation(ids)):
        model = context.new_model("convnet", 0)
        with reproducible(1):
            fit(
                model, context.loader("train"), order, context.views, SHORT, CrossEntropy(), seed=0,
                num_steps=planned_steps(SHORT, len(ids), 120), description="test",
            )  # fmt: skip
        trained.append(model.state_dict())
    for other in trained[1:]:
        assert all(torch.equal(trained[0][name], other[name]) for name in other)


# Soft labels ------------------------------------------------------------------------------------------------------------


class Fresh:
    """Soft labels that are computed at each request, in the batches of the cache, and not stored."""

    def __init__(self, context: Context, teacher: Teacher, *, rounded: bool) -> None:
        self.context, self.teacher, self.rounded = context, teacher, rounded

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        ids, epoch = key
        labels_by_id: dict[int, Tensor] = {}
        loader, views = self.context.loader("train"), self.context.views
        for batch, logits in batch_logits(
            self.teacher.model, loader, row_batches(ids, ROWS), views, epoch=epoch % views.policy.num_views
        ):
            labels_by_id |= {
                int(i): logits[row] for row, i in enumerate(batch.ids) if i % ROWS == row
            }  # where the cache takes it from
        values = torch.stack([labels_by_id[int(i)] for i in ids])[None]
        return values.half().float() if self.rounded else values


@pytest.fixture
def teacher_context(make_context: MakeContext, small_dataset: Dataset) -> tuple[Context, Teacher]:
    """Make a context and its teacher."""
    context = make_context(small_dataset, "views.num_views=2")
    return context, load_teacher(teach(context).folder, small_dataset, context.device)


def student_of(context: Context, labels: Any, ids: NDArray[np.int64]) -> dict[str, Tensor]:
    """Return the weights of a student trained on these soft labels."""
    model = context.new_model("convnet", 1)
    with reproducible(1):
        fit(
            model, context.loader("train"), ids, context.views, SHORT, DistillationLoss(labels, 0.7, 4.0), seed=0,
            num_steps=planned_steps(SHORT, len(ids), 120), description="test",
        )  # fmt: skip
    return model.state_dict()


def test_cached_soft_labels_equal_fresh_ones_up_to_float16(teacher_context: tuple[Context, Teacher]) -> None:
    context, teacher = teacher_context
    ids = np.arange(1, 120, 3)
    data = context.data
    cache = SoftLabelCache(teacher, context.views, data.fingerprint, data.total, data.classes)
    cache.fill(context.loader("train"), ids, range(2))

    class Cached:
        def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
            return cache[key][None]

    cached = student_of(context, Cached(), ids)
    rounded = student_of(context, Fresh(context, teacher, rounded=True), ids)
    assert all(torch.equal(cached[name], rounded[name]) for name in cached), "but for the rounding, the same bits"
    unrounded = student_of(context, Fresh(context, teacher, rounded=False), ids)
    assert any(not torch.equal(cached[name], unrounded[name]) for name in cached), "the rounding is there"
    for name in cached:
        torch.testing.assert_close(cached[name], unrounded[name], rtol=1e-2, atol=1e-2)


def test_the_order_of_teachers_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(50, 10, generator=generator)
    teachers = 3 * torch.randn(5, 50, 10, generator=generator)
    for count, exact in ((2, True), (5, False)):
        one = kd_loss(student, teachers[:count], 4.0)
        other = kd_loss(student, teachers[:count].flip(0), 4.0)
        torch.testing.assert_close(one, other, rtol=0 if exact else 1e-6, atol=0 if exact else 1e-7)
