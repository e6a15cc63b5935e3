"""Teachers, soft labels, students and the search for a KD weight on the pretend GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.io.json import read_json
from datapruning.runs.context import Context
from datapruning.runs.training_records import Augmentation, KDSearch
from datapruning.teachers.load import load_teacher
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.training.distillation.candidates import augmentations
from datapruning.training.evaluate import accuracy
from datapruning.training.losses import DistillationLoss
from tests.conftest import make_dataset
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.training import check_budget, gpu_context, measure_step
from tests.training.distillation.test_search import prior_file

pytestmark = pytest.mark.slow
FP32 = ("teacher.precision=fp32", "train.precision=fp32")


@pytest.fixture(scope="module")
def data() -> Dataset:
    """96 training images of 16x16, which is large enough for resized crops."""
    return make_dataset(96, side=16)


def new_cache(context: Context, folder: Path) -> SoftLabelCache:
    """The soft labels of a teacher in `folder`, none of them computed."""
    data = context.data
    teacher = load_teacher(folder, data, context.device, context.shape)
    return SoftLabelCache(teacher, context.views, data.fingerprint, data.total, data.classes)


def test_soft_labels_are_those_of_a_cpu_and_computed_without_waiting(gpu: PretendGPU, tmp_path: Path, data: Dataset) -> None:
    ids, labels = np.arange(0, data.total, 2), []
    for device in ("cuda", "cpu"):
        context = gpu_context(tmp_path / device, *FP32, data=data, device=device)
        cache = new_cache(context, dp.teach(context).folder)
        context.loader("train")
        before = gpu.counts.copy()
        assert cache.fill(context.loader("train"), ids, range(3)) == 3 * len(ids)
        assert not (added := gpu.counts.since(before)).syncs, added.report()
        labels.append(torch.stack([cache[ids, epoch] for epoch in range(3)]))
    assert torch.equal(*labels)


@pytest.mark.parametrize("top_k", [None, 2])
def test_soft_labels_for_an_own_loop_are_those_of_a_cpu(
    gpu: PretendGPU, tmp_path: Path, data: Dataset, top_k: int | None
) -> None:
    images = torch.from_numpy(data.train.images).permute(0, 3, 1, 2).float() / 255
    dataset, ids, labels = TensorDataset(images, torch.from_numpy(data.train.labels)), np.arange(0, 90, 7), []
    teacher = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, data.classes))
    for device in ("cuda", "cpu"):
        teacher.to(device)
        soft_labels = dp.soft_labels(teacher, dataset, ids, num_views=1, top_k=top_k, workspace=tmp_path / device)
        assert read_json(soft_labels.folder / "manifest.json")["device"] == device
        labels.append(soft_labels[torch.from_numpy(ids).to(device), 0])
    assert torch.equal(*labels)


def test_looking_up_soft_labels_of_two_teachers_adds_no_wait_and_no_upload(
    gpu: PretendGPU, tmp_path: Path, data: Dataset
) -> None:
    context = gpu_context(tmp_path, data=data)
    caches = [new_cache(context, dp.teach(context, seed=seed).folder) for seed in (0, 1)]
    for cache in caches:
        cache.fill(context.loader("train"), np.arange(data.total), range(4))
    step = measure_step(gpu, context, loss=DistillationLoss(TeacherLabels(caches), 0.5, 4.0))
    check_budget(step, 101)


@pytest.mark.parametrize(
    "changes",
    [
        (),
        (
            "train.ema=0.9",
            "train.optimizer=adamw",
            "train.lr=0.003",
            "train.clip_grad_norm=1.0",
            "train.label_smoothing=0.1",
        ),
        ("train.optimizer=muon", "train.lookahead=0.5", "views.padding=reflect", "views.cutout=4"),
        ("train.infobatch=0.5", "train.epochs=4", "views.num_views=1"),
        ("cutmix.prob=0.3", "mixup.prob=0.3", "train.deterministic=true"),
        ("self_distill.method=dlb", "train.progressive_size=12"),
        ("self_distill.method=tf-kd-self",),
        ("train.model=fastnet16", "views.alternate_flips=true"),
    ],
    ids=lambda changes: ", ".join(change.partition("=")[2] for change in changes) or "plain",
)
def test_a_student_is_that_of_a_cpu_in_fp32(
    gpu: PretendGPU, tmp_path: Path, data: Dataset, changes: tuple[str, ...]
) -> None:
    results = []
    for device in ("cuda", "cpu"):
        context = gpu_context(tmp_path / device, *FP32, *changes, data=data, device=device)
        run = dp.train(context, fraction=0.5, kd_weight=0.5)
        results.append((run.test_accuracy, (run.folder / "model.safetensors").read_bytes()))
    assert results[0] == results[1]


def search(context: Context, **options: Any) -> KDSearch:
    """The record of a search for the KD weight of a student on half of the samples."""
    record = dp.train(context, fraction=0.5, **options).result.kd_weight_search
    assert record is not None
    return record


@pytest.mark.parametrize("augmentation", ["recipe", "resized", "cutmix", "resized and cutmix"])
def test_a_search_probes_every_augmentation_in_bf16(
    gpu: PretendGPU, tmp_path: Path, data: Dataset, augmentation: Augmentation
) -> None:
    favoured = {word: 20.0 for word in ("resized", "cutmix") if word in augmentation}
    prior = prior_file(tmp_path, weight=5.0, **favoured)
    context = gpu_context(tmp_path, "train.epochs=4", prior, data=data)
    assert augmentation in augmentations(context)
    record = search(context)
    assert record.probes
    assert record.proposed.augmentation == augmentation


def test_a_search_in_fp32_decides_as_on_a_cpu(gpu: PretendGPU, tmp_path: Path, data: Dataset) -> None:
    records = []
    for device in ("cuda", "cpu"):
        context = gpu_context(tmp_path / device, *FP32, "train.epochs=4", "teacher.epochs=4", data=data, device=device)
        record = search(context, teacher="auto")
        records.append([(probe.candidate, probe.accuracy) for probe in record.probes])
    assert records[0] == records[1]


def test_an_evaluation_waits_once(gpu: PretendGPU, tmp_path: Path) -> None:
    data = make_dataset(1200, side=10)
    context = gpu_context(tmp_path, data=data)
    model = context.new_model("tinynet8", 0)
    accuracy(model, context.loader("train"), np.arange(10), context.views)
    before = gpu.counts.copy()
    accuracy(model, context.loader("train"), np.arange(data.total), context.views)
    assert gpu.counts.since(before).syncs.total() == 1


def test_advice_is_that_of_a_cpu_in_fp32(gpu: PretendGPU, tmp_path: Path) -> None:
    answers = []
    for device in ("cuda", "cpu"):
        changes = (*FP32, "train.epochs=1", "teacher.epochs=1", "train.batch_size=128", "teacher.batch_size=128")
        context = gpu_context(tmp_path / device, *changes, data=make_dataset(1000, side=8), device=device)
        advice = dp.advise(context, 20)
        answers.append((advice.reference.accuracy, {pilot: result.accuracy for pilot, result in advice.pilots.items()}))
    assert answers[0] == answers[1]
