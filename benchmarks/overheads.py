"""The overhead of recording dynamics and of distillation from cached soft labels per training step of the small convnet.

    python -m benchmarks.overheads [--rounds 15]

28x28 grey images, batches of 128, 10 classes, in-memory loader: everything around the network is as cheap as it gets, so
the shares are as large as they get. Processor seconds of one thread, which other load on the machine disturbs least; the
kinds of step take turns and the ratio is taken round by round, so that a speed that drifts disturbs all of them alike.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import publish, table
from datapruning.config.augmentation import AugmentPolicy
from datapruning.config.recipe import Recipe
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset, Split
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.recording import write_array
from datapruning.evidence.sample_stats import SampleStats
from datapruning.models import create_model
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.teachers.load import Teacher
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.training.callbacks import Callback
from datapruning.training.losses import CrossEntropy, DistillationLoss, Loss
from datapruning.training.reproducibility import reproducible
from datapruning.training.trainer import Trainer
from datapruning.utils.malloc import keep_freed_memory

SAMPLES, BATCH, CLASSES = 60_000, 128, 10
STEPS = 64
"""As many as fill the recorder's buffer once: its reduction is paid in full."""
COMMAND = "python -m benchmarks.overheads"


def made_up() -> Dataset:
    """Make random images in the shape of Fashion-MNIST; their content does not affect the cost."""
    rng = np.random.default_rng(0)
    splits = [
        Split(rng.integers(0, 256, (n, 28, 28, 1), dtype=np.uint8), rng.integers(0, CLASSES, n)) for n in (SAMPLES, 512)
    ]
    return Dataset("made-up", splits[0], splits[1], tuple("0123456789"))


def step_seconds(context: Context, objective: Loss, observers: Sequence[Callback], ids: Any) -> float:
    """Measure CPU seconds per step of one epoch of `STEPS` steps with the trainer."""
    model = context.new_model("convnet", 0)
    started = time.process_time()
    trainer = Trainer(
        model, context.loader("train"), ids, context.views, context.recipe.train, objective, seed=0, num_steps=STEPS,
        description="step", callbacks=observers,
    )  # fmt: skip
    trainer.fit()
    return (time.process_time() - started) / STEPS


def bare_step(keep: bool) -> float:
    """Measure CPU milliseconds of a bare training step of the small convnet in this process."""
    if keep:
        keep_freed_memory()
    torch.set_num_threads(1)
    model = create_model("convnet", (28, 28, 1), CLASSES, seed=0)
    images, labels = torch.randn(BATCH, 1, 28, 28).to(memory_format=torch.channels_last), torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    for _ in range(5):
        step()
    started = time.process_time()
    for _ in range(40):
        step()
    return 1000 * (time.process_time() - started) / 40


def memory_rounds(rounds: int) -> list[dict[str, float]]:
    """Measure `bare_step` with freed memory returned (default) and kept (as in `dprune`), in alternating processes."""
    code = "from benchmarks.overheads import bare_step; print(bare_step({}))"
    measured = []
    for _ in range(rounds):
        row = {}
        for name, keep in (("given back", False), ("kept", True)):
            done = subprocess.run([sys.executable, "-c", code.format(keep)], capture_output=True, text=True, check=True)
            row[name] = float(done.stdout)
        measured.append(row)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    recipe = Recipe(name="overheads", views=AugmentPolicy(crop=2, num_views=1), train=TrainConfig(batch_size=BATCH, lr=0.01))
    with tempfile.TemporaryDirectory() as folder:
        context = open_context(made_up(), recipe=recipe, device="cpu", loader="memory", workspace=folder, threads=1)
        data, ids = context.data, np.arange(0, SAMPLES, SAMPLES // (STEPS * BATCH))[: STEPS * BATCH]
        teacher = Teacher(context.new_model("convnet", 1).eval(), Path(folder), "none")
        labels = SoftLabelCache(teacher, context.views, data.fingerprint, data.total, data.classes)
        labels.fill(context.loader("train"), ids, range(1))
        track = SampleStats(Path(folder) / "track", 1, SAMPLES)
        write_array(Path(folder) / "changes" / "-1.npy", np.full((SAMPLES, CLASSES), 0.1, np.float16))  # an epoch before

        def recording() -> Recorder:
            return Recorder(track, PredictionChange(Path(folder) / "changes", SAMPLES))

        kd = DistillationLoss(TeacherLabels([labels]), 0.9, 4.0)
        kinds: dict[str, Callable[[], float]] = {
            "plain": lambda: step_seconds(context, CrossEntropy(), (), ids),
            "recording dynamics": lambda: step_seconds(context, CrossEntropy(), [recording()], ids),
            "KD from cached soft labels": lambda: step_seconds(context, kd, (), ids),
            "plain, once more": lambda: step_seconds(context, CrossEntropy(), (), ids),
        }
        with reproducible(1):
            rounds = [{name: kind() for name, kind in kinds.items()} for _ in range(args.rounds + 1)][1:]
    report(rounds, memory_rounds(5))


def report(rounds: Sequence[dict[str, float]], memory: Sequence[dict[str, float]]) -> None:
    """Print and write the table."""
    kept = [100 * (1 - m["kept"] / m["given back"]) for m in memory]
    lines = []
    for name in rounds[0]:
        milliseconds = [1000 * r[name] for r in rounds]
        ratios = sorted(100 * (r[name] / r["plain"] - 1) for r in rounds)
        quarter = len(ratios) // 4
        middle = f"{ratios[quarter]:+.1f} to {ratios[-1 - quarter]:+.1f}"
        lines.append([name, f"{statistics.median(milliseconds):.2f}", f"{statistics.median(ratios):+.1f}", middle])
    head = ["step", "milliseconds (median)", "over plain, % (median)", "middle half of the rounds, %"]
    body = (
        f"A training step of the small convnet, 28x28x1, batch {BATCH}, one thread, processor time; {len(rounds)} rounds of "
        f"{STEPS} steps of each kind in turn. The last line is the noise: the same step measured twice.\n\n"
        + table(head, lines)
        + "\n\nWith freed memory kept (`datapruning/utils/malloc.py`) instead of given back to the system, "
        f"a bare step takes {statistics.median(kept):.0f}% less processor time (median of {len(kept)} pairs of processes, "
        f"{min(kept):.0f} to {max(kept):.0f})."
    )
    publish(
        "overheads",
        "What recording and distilling add to a training step",
        COMMAND,
        body,
        {"rounds": list(rounds), "memory": list(memory)},
    )


if __name__ == "__main__":
    main()
