"""The script that test_distributed.py runs in one and in two processes, to compare the results it writes to a folder.

The folder holds `data.npz`; most networks have no batch norm, whose statistics are those of each process.
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
from datapruning.training.distributed import collectives
from datapruning.training.distributed.start import run_together, under_torchrun
from datapruning.training.distributed.sync_batchnorm import sync_batch_norms
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
from datapruning.utils import predicted_time
from datapruning.utils.processes import is_main, num_processes, rank
from tests.helpers.trainers import fit

FAULT_STEP = 12
"""The training step at which a process fails, in the middle of an epoch."""
SAMPLES, CLASSES = 117, 4
"""Seven batches of 16 and one of 5, of which two processes take 2 and 3."""
EVEN_SAMPLES = 112
BATCH = 16
PLAIN = TrainConfig(model="tests.helpers.two_processes:no_norms", epochs=3, batch_size=BATCH, lr=0.05)
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


def no_norms(channels: int, classes: int) -> nn.Module:
    """A network without interaction between rows, and with a parameter that is not trained."""
    layers = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, classes)
    )
    layers.register_parameter("idle", nn.Parameter(torch.ones(3), requires_grad=False))
    return layers


def of_one(config: TrainConfig) -> TrainConfig:
    """The settings with the same global batch, for as many processes as there are."""
    return config.replace(batch_size=config.batch_size // num_processes())


class CountSamples(Callback):
    """Count how often each sample is trained on, here."""

    def __init__(self) -> None:
        self.seen = np.zeros(SAMPLES, np.int64)

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """Count the samples of a batch."""
        assert len(logits) == len(batch.labels) == len(batch.ids)
        np.add.at(self.seen, batch.ids, 1)


def open_test_context(folder: Path, loader: str = "memory", *changes: str) -> Context:
    """Open a context on the data in the folder."""
    data = dp.open_dataset(str(folder / "data.npz"))
    network = ("model=tests.helpers.two_processes:no_norms", "epochs=3", f"batch_size={BATCH // num_processes()}", "lr=0.05")
    settings = [f"{table}.{key}" for table in ("teacher", "train", "proxy") for key in network]
    return dp.open_context(
        data, recipe="digits", changes=[*settings, "evidence.runs=1", "evidence.early_epoch=1", *changes], loader=loader,
        device="cpu", workspace=folder / "work", threads=1,
    )  # fmt: skip


def train_case(folder: Path, case: str) -> dict[str, NDArray[Any]]:
    """Train and return the weights, sample counts and losses."""
    training = of_one(CASES[case])
    context = open_test_context(folder, "ffcv" if case == "ffcv" else "memory")
    ids = np.arange(EVEN_SAMPLES if case == "dlb" else SAMPLES)
    views = replace(context.views, policy=AugmentPolicy(crop=1))
    if case == "cutmix":
        views = views.for_subset(ids, CutMixPolicy(prob=0.7))
    with reproducible(1):
        model, count = context.new_model(training.model, 1), CountSamples()
        bits = {name: np.random.default_rng(0).random(weight.shape) < 0.5 for name, weight in prunable(model).items()}
        state = fit(
            model, context.loader("train"), ids, views, training, CrossEntropy(training.label_smoothing), seed=1,
            num_steps=planned_steps(training, len(ids), len(ids)), description=case, callbacks=[count],
            self_distillation=METHODS[case](context.data.train.labels) if case in METHODS else None,
            masks=Masks(bits) if case == "masks" else None,
        )  # fmt: skip
    weights: dict[str, NDArray[Any]] = {name: value.numpy() for name, value in model.state_dict().items()}
    seen = count.seen if num_processes() == 1 else collectives.all_reduce(torch.from_numpy(count.seen)).numpy()
    return {**weights, "seen": seen, "loss": np.array([row.loss for row in state.history])}


def evaluation_passes(folder: Path) -> dict[str, NDArray[Any]]:
    """Return the outputs of evaluation passes of an untrained network with batch norm."""
    context = open_test_context(folder)
    model, ids = context.new_model("tinynet8", 3), np.arange(SAMPLES)[::-1].copy()
    train = context.loader("train")
    batches: dict[str, list[Any]] = {"ids": [], "labels": [], "logits": [], "features": [], "views": [], "ragged": []}
    for number, labels, logits in predict(model, train, ids, context.views, rows=16):
        batches["ids"].append(number)
        batches["labels"].append(labels.numpy())
        batches["logits"].append(logits.numpy())
    for *_, features in predict_with_features(model, train, np.tile(ids, 12), context.views):
        batches["features"].append(features.numpy())
    for name, parts in (("views", np.split(ids, 9)), ("ragged", np.array_split(ids, 5))):
        for _, logits in batch_logits(model, train, parts, context.views, epoch=7):
            batches[name].append(logits.numpy())
    return {name: np.concatenate(values) for name, values in batches.items()}


def run_commands(folder: Path) -> dict[str, NDArray[Any]]:
    """Return scores, and the weights and results of a student with a teacher."""
    context = open_test_context(folder)
    scores = {
        name: dp.score(context, name).values for name in ("el2n", "forgetting", "tdds", "grand", "grand-last", "margin")
    }
    run = dp.train(context, fraction=0.5, kd_weight=0.5)
    weights = load_tensors(run.folder / "model.safetensors")[0]
    counts = [run.result.processes, run.result.samples_seen, run.result.soft_labels_computed]
    return {**scores, **{name: value.numpy() for name, value in weights.items()}, "counts": np.array(counts)}


def compare(folder: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays to compare, by name."""
    arrays = {f"{case}.{name}": value for case in CASES for name, value in train_case(folder, case).items()}
    arrays |= {f"evaluation.{name}": value for name, value in evaluation_passes(folder).items()}
    return arrays | {f"commands.{name}": value for name, value in run_commands(folder).items()}


def gradients(*, norms: bool) -> list[NDArray[np.float64]]:
    """Gradients and running statistics after one batch of 7, of all processes together and of this one alone, flat."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5)]
    images, labels = torch.randn(7, 3, 6, 6).double(), torch.arange(7) % 5
    flat = []
    for together in (True, False):
        torch.manual_seed(1)
        model = nn.Sequential(*(layer for layer in layers if norms or not isinstance(layer, nn.BatchNorm2d))).double()
        for layer in model:
            getattr(layer, "reset_parameters", lambda: None)()
        rows = slice(7 * rank() // num_processes(), 7 * (rank() + 1) // num_processes()) if together else slice(0, 7)
        share = (rows.stop - rows.start) / 7
        model.zero_grad()
        if together and norms:
            with sync_batch_norms(model):
                loss = nn.functional.cross_entropy(model(images[rows]), labels[rows]) * share
        else:
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows]) * share
        loss.backward()  # type: ignore[no-untyped-call]
        if together:
            loss = collectives.sum_gradients(model, share, loss)
        tensors = [weight.grad for weight in model.parameters() if weight.grad is not None]
        floats = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        flat.append(torch.cat([t.reshape(-1) for t in (*tensors, *floats, loss.detach())]).numpy())
    return flat


def teach(folder: Path) -> None:
    """Train a teacher with batch norm, with a checkpoint after every training step."""
    checkpoint.SAVE_INTERVAL_SECONDS = 0.0
    context = open_test_context(folder)
    teacher = context.recipe.teacher.replace(model="tinynet8", optimizer="adamw", lr=0.002, batch_size=BATCH // 2)
    dp.teach(replace(context, recipe=context.recipe.replace(teacher=teacher)), out=folder / "teacher")


def record(folder: Path) -> None:
    """Record evidence, with a checkpoint after every training step; and train with the two other tables of each sample."""
    checkpoint.SAVE_INTERVAL_SECONDS = 0.0
    context = open_test_context(folder)
    dp.score(context, "tdds", out=folder / "tdds.npz")
    dp.train(context, fraction=0.9, kd_weight=0, self_distill="ps-kd", out=folder / "ps-kd")
    dp.train(context, fraction=0.9, kd_weight=0, infobatch=0.5, out=folder / "infobatch")


def fail_at_step(step: int, kind: str) -> None:
    """Have this process die ("kill") or run out of memory in the backward pass after a training step ("memory")."""
    sum_gradients, remaining = collectives.sum_gradients, [step]

    def out_of_memory(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def sum_or_fail(model: nn.Module, share: float, loss: Tensor) -> Tensor:
        remaining[0] -= 1
        if not remaining[0]:
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            next(model.parameters()).register_hook(out_of_memory)  # type: ignore[no-untyped-call]
        return sum_gradients(model, share, loss)

    collectives.sum_gradients = sum_or_fail


def main() -> None:
    """`python -m tests.helpers.two_processes compare|teach|record FOLDER [kill|memory STEP RANK]`."""
    action, folder, *fault = sys.argv[1:]
    torch.set_num_threads(1)
    predicted_time._PENDING.set([])  # no measured steps, which a fault would count

    def work() -> int:
        if action == "compare":
            arrays = compare(Path(folder))
            for norms in (False, True):
                together, alone = gradients(norms=norms)
                arrays |= {f"gradients.{norms}.together": together, f"gradients.{norms}.alone": alone}
            if is_main():
                np.savez(Path(folder) / "arrays.npz", allow_pickle=False, **arrays)
        {"compare": teach, "teach": teach, "record": record}[action](Path(folder))
        return 0

    if fault and os.environ["RANK"] == fault[2]:
        fail_at_step(int(fault[1]), fault[0])
    sys.exit(run_together(work) if under_torchrun() else work())


if __name__ == "__main__":
    main()
