"""Short trainings on the pretend GPU, and what one of their steps costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.sample_stats import SampleStats
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.training.callbacks import Callback
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_steps
from datapruning.training.self_distillation.factory import make_self_distillation
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.state import TrainState
from tests.conftest import make_dataset
from tests.helpers.trainers import fit
from tests.pretend_gpu.counts import Counts
from tests.pretend_gpu.pretend import PretendGPU

CLASSES = 4
BATCH_SIZE, STEPS_PER_EPOCH, EPOCHS = 16, 5, 3
MEASURED_EPOCH = 1
"""One whose steps have no first use of anything."""
SLACK = 1.08
"""Times the measured number of kernels is what a step may have: a fifth more is not."""
TRAIN = TrainConfig(model="tinynet8", epochs=EPOCHS, batch_size=BATCH_SIZE, lr=0.05)
SETTINGS = (
    "train.model=tinynet8", "train.epochs=2", "train.batch_size=16", "teacher.model=tinynet8", "teacher.epochs=2",
    "proxy.model=tinynet8", "proxy.epochs=2", "ensemble_member.model=tinynet8", "ensemble_member.epochs=1",
    "ensemble.num_members=6", "evidence.runs=2", "evidence.early_epoch=1", "views.num_views=4", "kd.max_probes=3",
)  # fmt: skip
"""Settings with which every verb needs few operations."""


class TeacherLogits:
    """Soft labels of a teacher, looked up on the host as those of a cache are."""

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        ids, epoch = key
        return torch.from_numpy(np.sin(ids[:, None] * (1.0 + np.arange(CLASSES)) + epoch % 3)).float()[None]


class CountSteps(Callback):
    """Notes after each step what was asked of the GPU so far."""

    def __init__(self, gpu: PretendGPU) -> None:
        self._gpu = gpu
        self._counts: list[Counts] = []

    def on_step_end(self, epoch: int, model: nn.Module) -> None:
        if epoch == MEASURED_EPOCH:
            self._counts.append(self._gpu.counts.copy())

    @property
    def of_a_step(self) -> Counts:
        """The counts of a step in the middle of an epoch, the next to last: its preparation lies between two steps, too."""
        return self._counts[-2].since(self._counts[-3])


def gpu_context(
    folder: Path, *changes: str, data: Dataset | None = None, loader: str = "memory", device: str = "cuda"
) -> Context:
    """Open a context on a GPU with `SETTINGS`."""
    data = data or make_dataset(BATCH_SIZE * STEPS_PER_EPOCH, side=10, classes=CLASSES)
    return open_context(
        data, recipe="default", changes=[*SETTINGS, *changes], device=device, loader=loader, workspace=folder, threads=1
    )


def train(
    context: Context,
    training: TrainConfig = TRAIN,
    *,
    network: nn.Module | None = None,
    method: str = "none",
    masked: bool = False,
    **options: Any,
) -> tuple[nn.Module, TrainState]:
    """Train a `network`, by default a new one, on all samples.

    `method` is that of self-distillation; with `masked` about half of the weights are removed.
    """
    ids = np.arange(context.data.total)
    context = context.with_settings("self_distill", method=method).with_settings("train", epochs=training.epochs)
    model = network or context.new_model(training.model, 0)
    settings: dict[str, Any] = {
        "seed": 0, "num_steps": planned_steps(training, len(ids), len(ids)), "description": "test",
        "self_distillation": make_self_distillation(context, ids, 0, TeacherLogits(), ids),
        "masks": half_of(model) if masked else None, **options,
    }  # fmt: skip
    with reproducible(1, training):
        state = fit(
            model, context.loader("train"), ids, context.views, training, settings.pop("loss", CrossEntropy()), **settings
        )
    return model, state


def half_of(model: nn.Module) -> Masks:
    """Masks that keep about half of the weights."""
    rng = np.random.default_rng(0)
    return Masks({name: rng.random(tuple(weight.shape)) < 0.5 for name, weight in prunable(model).items()})


def new_recorder(folder: Path, context: Context) -> Recorder:
    """A recorder of all training statistics, the change of predictions too."""
    total = context.data.total
    return Recorder(SampleStats(folder / "stats", EPOCHS, total), PredictionChange(folder / "changes", total))


def measure_step(gpu: PretendGPU, context: Context, training: TrainConfig = TRAIN, **options: Any) -> Counts:
    """Train as `train` does; returns what a step asks of the GPU."""
    count_steps = CountSteps(gpu)
    callbacks = [*options.pop("callbacks", ()), count_steps]
    train(context, training, callbacks=callbacks, **options)
    return count_steps.of_a_step


def check_budget(step: Counts, kernels: int) -> None:
    """Check that a step has no wait of the host and no copy from pageable memory, and at most about so many kernels.

    `kernels` is the number that was measured, with torch 2.15 or 2.11, whichever has more; `SLACK` lets it grow a little.
    """
    most = int(SLACK * kernels)
    message = f"a step has {most} kernels at most, no syncs and no uploads; this one has\n{step.report()}"
    assert not step.syncs, message
    assert not step.uploads, message
    assert step.kernels.total() <= most, message
