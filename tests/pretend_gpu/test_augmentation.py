"""Views on the pretend GPU: the bits of a CPU, no wait, and a budget of launches and copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datapruning.config.augmentation import CutMixPolicy, MixupPolicy
from datapruning.runs.context import Context
from tests.conftest import make_dataset
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.training import check_budget, gpu_context

pytestmark = pytest.mark.slow
POLICIES = {
    "flips and crops": ((), 14),
    "flips alone": (("views.crop=0",), 8),
    "alternate flips": (("views.alternate_flips=true",), 14),
    "reflected borders": (("views.padding=reflect",), 14),
    "cutout": (("views.cutout=5",), 22),
    "centre crops": (("views.size=10", "views.cutout=5"), 22),
    "resized crops": (("views.crop=0", "views.scale=[0.3, 1.0]"), 49),
    "smaller resized crops": (("views.crop=0", "views.scale=[0.3, 1.0]", "views.size=8"), 49),
    "none": (("views.crop=0", "views.flip=false"), 5),
}
"""Settings, and the kernels of a batch; see `check_budget`."""
BATCHES = np.array_split(np.arange(48), 4)


def views_of(context: Context) -> list[tuple[Tensor, Tensor]]:
    """The views of an epoch and their labels, batch by batch, on their device."""
    return [(images, batch.labels) for batch, images in context.views.read(context.loader("train"), BATCHES, 3)]


def assert_same(on_gpu: list[tuple[Tensor, Tensor]], on_cpu: list[tuple[Tensor, Tensor]]) -> None:
    for (images, labels), (expected, expected_labels) in zip(on_gpu, on_cpu, strict=True):
        assert images.device.type == "cuda"
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images.cpu(), expected)
        assert torch.equal(labels.cpu(), expected_labels)


@pytest.mark.parametrize(("changes", "kernels"), POLICIES.values(), ids=POLICIES.keys())
def test_views_have_the_bits_of_a_cpu_and_a_budget(
    gpu: PretendGPU, tmp_path: Path, changes: tuple[str, ...], kernels: int
) -> None:
    data = make_dataset(side=14)
    context = gpu_context(tmp_path, *changes, data=data)
    on_gpu = views_of(context)
    before = gpu.counts.copy()
    batches = context.views.read(context.loader("train"), BATCHES, 3)
    next(batches)
    check_budget(gpu.counts.since(before), kernels)
    assert_same(on_gpu, views_of(gpu_context(tmp_path, *changes, data=data, device="cpu")))


@pytest.mark.parametrize(("cutmix", "mixup", "kernels"), [(0.5, 0.0, 28), (0.0, 0.5, 33), (0.4, 0.4, 34)])
def test_mixed_views_have_the_bits_of_a_cpu_and_a_budget(
    gpu: PretendGPU, tmp_path: Path, cutmix: float, mixup: float, kernels: int
) -> None:
    data, results = make_dataset(side=14), []
    for device in ("cuda", "cpu"):
        context = gpu_context(tmp_path, data=data, device=device)
        views = context.views.for_subset(np.arange(10, 100), CutMixPolicy(prob=cutmix), MixupPolicy(prob=mixup))
        list(views.read(context.loader("train"), BATCHES, 2))
        before = gpu.counts.copy()
        batches = list(views.read(context.loader("train"), BATCHES, 3))
        if device == "cuda":
            check_budget(gpu.counts.since(before), kernels * len(batches))
        results.append([(images, batch.mixed) for batch, images in batches])
    for (images, mixed), (expected, expected_mixed) in zip(*results, strict=True):
        assert torch.equal(images.cpu(), expected)
        assert mixed is not None
        assert expected_mixed is not None
        for column, expected_column in zip(mixed, expected_mixed, strict=True):
            assert torch.equal(column.cpu(), expected_column)


def test_images_that_are_evaluated_have_the_bits_of_a_cpu(gpu: PretendGPU, tmp_path: Path) -> None:
    data = make_dataset(side=14)
    results = []
    for device in ("cuda", "cpu"):
        context = gpu_context(tmp_path, "views.size=10", data=data, device=device)
        (batch,) = context.loader("test").read([np.arange(30)])
        results.append(context.views.normalise(batch.images).cpu())
    assert torch.equal(*results)
