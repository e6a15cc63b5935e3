"""A training step of the trainer against a bare loop written by hand for the same network.

    python -m benchmarks.step [--rounds 9] [--gpu-rounds 5]

On a CPU: two small networks on 28x28 grey images (the smallest has hardly anything to do) and a ResNet-20 on 32x32 colour
images, one thread, processor time. The
bare loops hold the images as tensors: "network alone" is fed the same ready float batch again and again, "bare loop" draws
an order, flips, crops and normalises whole batches in plain torch, and steps. Ours does all a student's training does:
loader, replayable views, schedule, counters, checkpoints at their default interval. The kinds take turns; ratios are taken
round by round.

On a GPU: ResNet-18 on CIFAR-sized images in bf16, images a second by wall time; the bare loops are channels last, as they
come and through torch.compile with CUDA graphs; ours plain, with `train.graph`, `train.compile` and both. All have the same
setting of cuDNN, deterministic without benchmarks. Where there is no GPU that part is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import publish, table
from datapruning.config.augmentation import AugmentPolicy
from datapruning.config.recipe import Recipe
from datapruning.config.training import TeacherConfig, TrainConfig
from datapruning.data.dataset import Dataset, Split
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.trainer import Trainer
from datapruning.utils.console import info
from datapruning.utils.malloc import keep_freed_memory

COMMAND = "python -m benchmarks.step"
PADDING = 4


class Setting(NamedTuple):
    """A training setup: network name, image shape, batch size and steps per epoch."""

    model: str
    shape: tuple[int, int, int]
    batch: int
    steps: int
    classes: int = 10


CPU = (
    Setting("tinynet8", (28, 28, 1), 128, 192),
    Setting("convnet", (28, 28, 1), 128, 48),
    Setting("resnet20", (32, 32, 3), 128, 6),
)
GPU = Setting("resnet18", (32, 32, 3), 512, 96, 100)


def made_up(setting: Setting) -> Dataset:
    """Make random images; their content does not affect the cost."""
    rng = np.random.default_rng(0)
    splits = []
    for count in (setting.batch * setting.steps, 512):
        labels = rng.integers(0, setting.classes, count)
        labels[: setting.classes] = np.arange(setting.classes)
        splits.append(Split(rng.integers(0, 256, (count, *setting.shape), dtype=np.uint8), labels))
    return Dataset("made-up", splits[0], splits[1], tuple(map(str, range(setting.classes))))


class Bare:
    """A minimal loop that only trains this network fast."""

    def __init__(self, context: Context, setting: Setting, *, compiled: bool = False) -> None:
        self.device, self.batch = context.device, setting.batch
        split = context.data.train
        self.images = torch.from_numpy(split.images).permute(0, 3, 1, 2).to(self.device, memory_format=torch.channels_last)
        self.labels = torch.from_numpy(split.labels).to(self.device)
        mean, std = (torch.tensor(s, device=self.device).view(1, -1, 1, 1) for s in context.data.channel_stats)
        self.mean, self.std = mean.float(), std.float()
        self.model = context.new_model(setting.model, 0).to(memory_format=torch.channels_last)
        self.network = torch.compile(self.model, mode="reduce-overhead") if compiled else self.model
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.01, total_steps=1_000_000)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches that are shuffled, flipped, cropped from a padded batch (one window per sample) and normalised."""
        order = torch.randperm(len(self.images), device=self.device)
        height, width = self.images.shape[2:]
        for ids in order.split(self.batch):
            images = nn.functional.pad(self.images[ids], (PADDING,) * 4)
            windows = images.unfold(2, height, 1).unfold(3, width, 1)  # [n, channels, offsets, offsets, height, width]
            at = torch.randint(0, 2 * PADDING + 1, (2, len(ids)), device=self.device)
            crops = windows[torch.arange(len(ids), device=self.device), :, at[0], at[1]]
            flip = torch.rand(len(ids), 1, 1, 1, device=self.device) < 0.5
            crops = torch.where(flip, crops.flip(3), crops).contiguous(memory_format=torch.channels_last)
            yield (crops.float() - self.mean) / self.std, self.labels[ids]

    def step(self, images: Tensor, labels: Tensor) -> None:
        """Run forward pass, backward pass and optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        cast = torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()
        with cast:
            loss = nn.functional.cross_entropy(self.network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()

    def epoch(self) -> None:
        """Train on every sample once."""
        for images, labels in self.batches():
            self.step(images, labels)

    def network_alone(self, steps: int) -> None:
        """Train on the same prepared batch repeatedly."""
        images, labels = next(self.batches())
        for _ in range(steps):
            self.step(images, labels)


def ours(context: Context, setting: Setting, folder: Path) -> Callable[[], None]:
    """Run an epoch of the trainer with a new network and a checkpoint path."""
    ids, steps = np.arange(context.data.total), setting.steps

    def epoch() -> None:
        model = context.new_model(setting.model, 0)
        trainer = Trainer(
            model, context.loader("train"), ids, context.views, context.recipe.train, CrossEntropy(), seed=0,
            num_steps=steps, description="step",
        )  # fmt: skip
        trainer.fit(Checkpoint(folder / "checkpoint.safetensors"))

    return epoch


def timed(kinds: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float]) -> list[dict[str, float]]:
    """Measure seconds of each loop in each round, after a discarded first round."""
    measured = []
    for number in range(rounds + 1):
        row = {}
        for name in list(kinds)[:: 1 if number % 2 else -1]:
            started = clock()
            kinds[name]()
            row[name] = clock() - started
        measured.append(row)
        info(f"round {number}: " + ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in row.items()))
    return measured[1:]


def context_of(setting: Setting, folder: Path, device: str, loader: str, **changes: Any) -> Context:
    """Open a context for the setup's network."""
    training = TrainConfig(model=setting.model, batch_size=setting.batch, lr=0.01, **changes)
    # evidence and soft labels are not made here; all networks that a recipe names must take the images
    recipe = Recipe(
        name="step",
        views=AugmentPolicy(crop=PADDING),
        train=training,
        teacher=TeacherConfig(**dict(training)),
        proxy=training,
        ensemble_member=training,
    )
    return open_context(made_up(setting), recipe=recipe, device=device, loader=loader, workspace=folder, threads=1)


def on_cpu(setting: Setting, folder: Path, rounds: int) -> list[dict[str, float]]:
    """Return CPU seconds per epoch."""
    in_memory = context_of(setting, folder, "cpu", "memory")
    kinds: dict[str, Callable[[], None]] = {
        "bare loop": Bare(in_memory, setting).epoch,
        "ours, in-memory loader": ours(in_memory, setting, folder),
        "network alone": lambda: Bare(in_memory, setting).network_alone(setting.steps),
        "bare loop, once more": Bare(in_memory, setting).epoch,
    }
    with_ffcv = _with_ffcv(setting, folder)
    if with_ffcv:
        kinds["ours, FFCV loader"] = ours(with_ffcv, setting, folder)
    with reproducible(1):
        return timed(kinds, rounds, time.process_time)


def _with_ffcv(setting: Setting, folder: Path) -> Context | None:
    import importlib.util

    return context_of(setting, folder, "cpu", "ffcv") if importlib.util.find_spec("ffcv") else None


def on_gpu(folder: Path, rounds: int) -> list[dict[str, float]]:
    """Return wall seconds per epoch."""
    plain = context_of(GPU, folder, "cuda", "memory")
    kinds: dict[str, Callable[[], None]] = {
        "bare loop": Bare(plain, GPU).epoch,
        "bare loop, compiled, CUDA graphs": Bare(plain, GPU, compiled=True).epoch,
        "ours": ours(plain, GPU, folder),
        "ours, train.graph": ours(_changed(plain, graph=True), GPU, folder),
        "ours, train.compile": ours(_changed(plain, compile=True), GPU, folder),
        "ours, train.compile, train.graph": ours(_changed(plain, compile=True, graph=True), GPU, folder),
    }

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    with reproducible(1, plain.recipe.train):
        return timed(kinds, rounds, clock)


def _changed(context: Context, **changes: Any) -> Context:
    return replace(context, recipe=context.recipe.replace(train=context.recipe.train.replace(**changes)))


def lines_of(rounds: Sequence[dict[str, float]], setting: Setting, base: str) -> list[list[str]]:
    """Return a row per loop: milliseconds per step, images per second, and speed relative to `base`."""
    lines = []
    for name in rounds[0]:
        steps = [1000 * r[name] / setting.steps for r in rounds]
        shares = sorted(r[base] / r[name] for r in rounds)
        quarter = len(shares) // 4
        middle = f"{shares[quarter]:.3f} to {shares[-1 - quarter]:.3f}"
        per_second = 1000 * setting.batch / statistics.median(steps)
        lines.append(
            [name, f"{statistics.median(steps):.2f}", f"{per_second:,.0f}", f"{statistics.median(shares):.3f}", middle]
        )
    return lines


HEAD = [
    "step",
    "milliseconds (median)",
    "images a second",
    "speed, of the bare loop's (median)",
    "middle half of the rounds",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--gpu-rounds", type=int, default=5)
    args = parser.parse_args()
    keep_freed_memory()
    parts, measured = [], {}
    for setting in CPU:
        with tempfile.TemporaryDirectory() as folder:
            rounds = on_cpu(setting, Path(folder), args.rounds)
        measured[setting.model] = rounds
        shape = "x".join(map(str, setting.shape))
        parts.append(
            f"**{setting.model}**, {shape}, batch {setting.batch}, one thread, processor time, {len(rounds)} rounds of "
            f"{setting.steps} steps:\n\n" + table(HEAD, lines_of(rounds, setting, "bare loop"))
        )
    if torch.cuda.is_available():
        with tempfile.TemporaryDirectory() as folder:
            measured["gpu"] = on_gpu(Path(folder), args.gpu_rounds)
        best = min(("bare loop", "bare loop, compiled, CUDA graphs"), key=lambda n: min(r[n] for r in measured["gpu"]))
        parts.append(
            f"**{GPU.model}** on {torch.cuda.get_device_name()}, bf16, batch {GPU.batch}, wall time, against the faster "
            f"bare loop ({best}):\n\n" + table(HEAD, lines_of(measured["gpu"], GPU, best))
        )
    else:
        parts.append("No GPU here: its part was not run.")
    parts.append('"bare loop, once more" is the noise: the same loop measured twice.')
    publish("step", "A training step of the one loop against a bare loop", COMMAND, "\n\n".join(parts), measured)


if __name__ == "__main__":
    main()
