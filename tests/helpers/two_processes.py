"""The script that test_distributed.py runs in one and in two processes, to compare the results it writes to a folder.

The folder holds `data.npz`; the networks have no batch norm, whose statistics are those of each process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import datapruning as dp
from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy
from datapruning.config.training import TrainConfig
from datapruning.data.loaders.loader import Batch
from datapruning.io.tensors import load_tensors
from datapruning.runs.context import Context
from datapruning.training import checkpoint
from datapruning.training.callbacks import Callback
from datapruning.training.distributed.start import run_together, under_torchrun
from datapruning.training.evaluate import batch_logits, predict, predict_with_features
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_steps
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.self_distillation.cs_kd import CSKD, ClassPairs
from datapruning.training.self_distillation.dlb import DLB
from datapruning.training.self_distillation.ps_kd import PSKD
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable
from tests.helpers.trainers import fit

KILL_STEP = 12
"""The training step at which process 1 is killed, in the middle of the second epoch."""
SAMPLES, CLASSES = 115, 4
"""Seven batches of 16 and one of 3, which is too small to split over two processes."""
PLAIN = TrainConfig(model="tests.helpers.two_processes:no_norms", epochs=3, batch_size=16, lr=0.05)
CASES: dict[str, TrainConfig] = {
    "sgd": PLAIN,
    "adamw": PLAIN.replace(optimizer="adamw", lr=0.002, ema=0.9, label_smoothing=0.1),
    "accumulate": PLAIN.replace(batch_size=8, grad_accum_steps=2, clip_grad_norm=0.5),
    "infobatch": PLAIN.replace(epochs=4, infobatch=0.5),
    "cutmix": PLAIN,
    "ps-kd": PLAIN,
    "cs-kd": PLAIN,
    "dlb": PLAIN,
    "masks": PLAIN,
    "ffcv": PLAIN,
}


METHODS: dict[str, Callable[[NDArray[np.int64]], SelfDistillation]] = {
    "ps-kd": lambda labels: PSKD(np.arange(SAMPLES), CLASSES, 0.8, PLAIN.epochs),
    "cs-kd": lambda labels: CSKD(ClassPairs(np.arange(SAMPLES), labels), 1.0, 4.0, 1),
    "dlb": lambda labels: DLB(1.0, 3.0, 3),
}
NETWORK = ("model=tests.helpers.two_processes:no_norms", "epochs=3", "batch_size=16", "lr=0.05")


def no_norms(channels: int, classes: int) -> nn.Module:
    """A network without interaction between rows, and with an unused parameter."""
    layers = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes)
    )
    layers.register_parameter("idle", nn.Parameter(torch.ones(3)))
    return layers


class CountSamples(Callback):
    """Count how often each sample is trained on."""

    def __init__(self) -> None:
        self.seen = np.zeros(SAMPLES, np.int64)

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """Count the samples of a complete batch."""
        assert len(logits) == len(batch.labels) == len(batch.ids)
        np.add.at(self.seen, batch.ids, 1)


def open_test_context(folder: Path, loader: str = "memory") -> Context:
    """Open a context on the data in the folder."""
    data = dp.open_dataset(str(folder / "data.npz"))
    changes = [f"{table}.{key}" for table in ("teacher", "train", "proxy") for key in NETWORK]
    return dp.open_context(
        data, recipe="digits", changes=[*changes, "evidence.runs=1", "evidence.early_epoch=1"], loader=loader,
        device="cpu", workspace=folder / "work", threads=1,
    )  # fmt: skip


def train_case(folder: Path, case: str) -> dict[str, NDArray[Any]]:
    """Train and return the weights, sample counts and losses."""
    training = CASES[case]
    context = open_test_context(folder, "ffcv" if case == "ffcv" else "memory")
    ids = np.arange(SAMPLES)
    views = replace(context.views, policy=AugmentPolicy(crop=1))
    if case == "cutmix":
        views = views.for_subset(ids, CutMixPolicy(prob=0.7))
    with reproducible(1):
        model, count = context.new_model(training.model, 1), CountSamples()
        bits = {name: np.random.default_rng(0).random(weight.shape) < 0.5 for name, weight in prunable(model).items()}
        state = fit(
            model, context.loader("train"), ids, views, training, CrossEntropy(training.label_smoothing), seed=1,
            num_steps=planned_steps(training, SAMPLES, SAMPLES), description=case, callbacks=[count],
            self_distillation=METHODS[case](context.data.train.labels) if case in METHODS else None,
            masks=Masks(bits) if case == "masks" else None,
        )  # fmt: skip
    weights: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in model.state_dict().items()}
    return {**weights, "seen": count.seen, "loss": np.array([row.loss for row in state.history])}


def evaluation_passes(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the outputs of evaluation passes of an untrained network with batch norm."""
    context = open_test_context(folder)
    model, ids = context.new_model("tinynet8", 3), np.arange(SAMPLES)[::-1].copy()
    train = context.loader("train")
    batches: dict[str, list[Any]] = {"ids": [], "labels": [], "logits": [], "features": [], "views": []}
    for parts in (predict(model, train, ids, context.views, rows=16),):
        for number, labels, logits in parts:
            batches["ids"].append(number)
            batches["labels"].append(labels.numpy())
            batches["logits"].append(logits.numpy())
    for *_, features in predict_with_features(model, train, np.tile(ids, 12), context.views):
        batches["features"].append(features.numpy())
    for _, logits in batch_logits(model, train, np.split(ids, 5), context.views, epoch=7):
        batches["views"].append(logits.numpy())
    return {name: np.concatenate(values) for name, values in batches.items()}


def run_commands(folder: Path) -> dict[str, NDArray[Any]]:
    """Return scores, and the weights and results of a student with a teacher."""
    context = open_test_context(folder)
    scores = {name: dp.score(context, name).values for name in ("el2n", "forgetting", "grand-last", "margin")}
    run = dp.train(context, fraction=0.5, kd_weight=0.5)
    weights = load_tensors(run.folder / "model.safetensors")[0]
    counts = [run.result.processes, run.result.samples_seen, run.result.soft_labels_computed]
    return {**scores, **{name: value.numpy() for name, value in weights.items()}, "counts": np.array(counts)}


def compare(folder: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays to compare, by name."""
    arrays = {f"{case}.{name}": value for case in CASES for name, value in train_case(folder, case).items()}
    arrays |= {f"evaluation.{name}": value for name, value in evaluation_passes(folder).items()}
    return arrays | {f"commands.{name}": value for name, value in run_commands(folder).items()}


def teach(folder: Path) -> None:
    """Train a teacher with batch norm, with a checkpoint after every training step."""
    checkpoint.SAVE_INTERVAL_SECONDS = 0.0
    context = open_test_context(folder)
    teacher = context.recipe.teacher.replace(model="tinynet8", optimizer="adamw", lr=0.002)
    dp.teach(replace(context, recipe=context.recipe.replace(teacher=teacher)), out=folder / "teacher")


def kill_at_step(step: int) -> None:
    """Kill this process with SIGKILL at a training step."""
    from datapruning.training.distributed.worker import TrainingWorker

    train_step, remaining = TrainingWorker.train_step, [step]

    def step_or_kill(self: TrainingWorker, *arguments: Any) -> None:
        remaining[0] -= 1
        if not remaining[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        train_step(self, *arguments)

    TrainingWorker.train_step = step_or_kill  # type: ignore[assignment, method-assign]


def main() -> None:
    """`python -m tests.helpers.two_processes compare|teach|die FOLDER`."""
    action, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)

    def work() -> int:
        if action == "compare":
            np.savez(folder / "arrays.npz", allow_pickle=False, **compare(folder))
        teach(folder)
        return 0

    if action == "die":
        kill_at_step(KILL_STEP)
    sys.exit(run_together(work) if under_torchrun() else work())


if __name__ == "__main__":
    main()
