"""Weights pruned before training on the pretend GPU: in fp32, the masks of a CPU for every criterion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.config.sparsity import CRITERIA
from datapruning.runs.context import Context
from datapruning.training.losses import CrossEntropy, DistillationLoss
from datapruning.training.sparsity.masks import MASKS_FILE
from datapruning.training.sparsity.prune import PruningResult, prune_at_init
from tests.conftest import make_dataset
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.training import TeacherLogits, gpu_context

pytestmark = pytest.mark.slow
SMALL = ("sparsity.batch_size=16", "sparsity.rounds=2", "sparsity.inner_steps=2")
LOSSES = {
    "cs-kd": ("self_distill.method=cs-kd",),
    "ps-kd": ("self_distill.method=ps-kd",),
    "dlb": ("self_distill.method=dlb",),
    "tf-kd": ("self_distill.method=tf-kd",),
    "tf-kd-self": ("self_distill.method=tf-kd-self",),
    "first-order, fresh batches": (
        "self_distill.method=tf-kd", "sparsity.mode=first-order", "sparsity.batches=2", "sparsity.match_gradients=true",
        "sparsity.fresh_inner_batches=true",
    ),
}  # fmt: skip


def prune(context: Context, criterion: str, *, teacher: bool = False) -> PruningResult:
    """Masks that keep a fifth of the weights of a new network."""
    context = context.with_sparsity(0.8, criterion)
    loss = DistillationLoss(TeacherLogits(), 0.5, 4.0) if teacher else CrossEntropy()
    model = context.new_model("tinynet8", 0)
    return prune_at_init(context, model, np.arange(context.data.total), loss, 0, TeacherLogits())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_gives_the_masks_of_a_cpu(gpu: PretendGPU, tmp_path: Path, criterion: str) -> None:
    changes = (*SMALL, "self_distill.method=cs-kd")
    on_gpu, on_cpu = (prune(gpu_context(tmp_path, *changes, device=device), criterion) for device in ("cuda", "cpu"))
    assert on_gpu.masks.digest == on_cpu.masks.digest


@pytest.mark.parametrize("changes", LOSSES.values(), ids=LOSSES.keys())
def test_epsd_of_every_loss_gives_the_masks_of_a_cpu(gpu: PretendGPU, tmp_path: Path, changes: tuple[str, ...]) -> None:
    contexts = [gpu_context(tmp_path, *SMALL, *changes, device=device) for device in ("cuda", "cpu")]
    on_gpu, on_cpu = (prune(context, "epsd", teacher="tf-kd-self" not in changes[0]) for context in contexts)
    assert on_gpu.masks.digest == on_cpu.masks.digest


@pytest.mark.parametrize(
    ("criterion", "waits"),
    [("snip", 4), ("grasp", 3), ("synflow", 2), ("magnitude", 2), ("random", 0)],
)
def test_a_round_waits_as_often_whatever_the_layers(gpu: PretendGPU, tmp_path: Path, criterion: str, waits: int) -> None:
    """Masks are made on the GPU, and nothing is uploaded."""
    counts = []
    for rounds in (1, 2):
        before = gpu.counts.copy()
        prune(gpu_context(tmp_path, "sparsity.batch_size=16", f"sparsity.rounds={rounds}"), criterion)
        counts.append(gpu.counts.since(before))
    of_a_round = counts[1].syncs - counts[0].syncs
    assert of_a_round.total() <= waits, of_a_round
    assert not counts[1].uploads - counts[0].uploads


def test_a_pruned_student_is_trained_and_evaluated(gpu: PretendGPU, tmp_path: Path) -> None:
    data = make_dataset(64, side=10)
    accuracies = []
    for device in ("cuda", "cpu"):
        context = gpu_context(tmp_path / device, *SMALL, "train.precision=fp32", data=data, device=device)
        run = dp.train(context, fraction=0.5, kd_weight=0, sparsity=0.8, criterion="snip")
        accuracies.append(run.test_accuracy)
        assert (run.folder / MASKS_FILE).exists()
    assert accuracies[0] == accuracies[1]
