"""The cost of EPSD's pruning stage: seconds and memory, with and without differentiating through the inner steps.

    python -m benchmarks.epsd_cost [--masks-only]

Random images in the shape of the data; each case runs in a separate process, to measure its own peak memory. The
yardstick is a plain training step of the same network, measured in the same process before. With `--masks-only` the rounds
from saliencies to masks are measured alone, and the other cases are those of the committed results.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, mean_spread, publish, table
from datapruning.config.sparsity import SparsityConfig
from datapruning.data.dataset import Dataset, Split
from datapruning.models import create_model
from datapruning.runs.opening import open_context
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.sparsity.criteria import CRITERIA, SaliencyInputs
from datapruning.training.sparsity.meta_gradient import SaliencyLoss
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.sparsity.prune import prune_at_init
from datapruning.training.sparsity.threshold import keep_largest, sparsity_schedule
from datapruning.utils.console import quiet
from datapruning.utils.malloc import keep_freed_memory

SAMPLES, BATCH, ROUNDS = 1024, 128, 3
MODELS = {
    "tinyresnet": ((28, 28, 1), 10, 60_000 * 16, "16 epochs of Fashion-MNIST"),
    "resnet18": ((32, 32, 3), 100, 50_000 * 200, "200 epochs of CIFAR-100"),
}
"""Shape and classes of the data, samples seen by a full-data training of its recipe, in words."""
STAGES: dict[str, dict[str, Any]] = {
    "first-order, 3 steps": {"mode": "first-order"},
    "full, 3 steps": {},
    "first-order, 10 steps": {"mode": "first-order", "inner_steps": 10},
    "full, 10 steps": {"inner_steps": 10},
    "full, 3 steps, 5 rounds": {"rounds": 5},
    "SNIP": {"criterion": "snip"},
}
MASKS = {"EPSD": 5, "SynFlow": 100}
"""Rounds of a criterion. EPSD's saliencies are random numbers there: the choice among them is measured alone."""
COMMAND = "python -m benchmarks.epsd_cost"


def peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, stage: str) -> dict[str, float]:
    """Measure seconds of a step and of the stage, and the memory that the stage adds to the peak of training."""
    import torch

    keep_freed_memory()
    shape, classes, _, _ = MODELS[name]
    rng = np.random.default_rng(0)
    train, test = (
        Split(rng.integers(0, 256, (n, *shape), dtype=np.uint8), rng.integers(0, classes, n)) for n in (SAMPLES, 8)
    )
    data = Dataset("made-up", train, test, tuple(map(str, range(classes))))
    with tempfile.TemporaryDirectory() as folder, reproducible(1), quiet():
        context = open_context(data, recipe="default", device="cpu", loader="memory", workspace=folder, threads=1)
        model = context.new_model(name, 0)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, fused=True)
        batch, images = next(iter(context.views.read(context.loader("train"), [np.arange(BATCH)], 0)))
        seconds = []
        for _ in range(4):
            started = time.process_time()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), batch.labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seconds.append(time.process_time() - started)
        before = peak()
        context = context.with_settings("sparsity", **{"sparsity": 0.95, "rounds": 1, **STAGES[stage]})
        context = context.with_settings("self_distill", method="cs-kd")
        started = time.process_time()
        prune_at_init(context, context.new_model(name, 0), np.arange(SAMPLES), CrossEntropy(), 0)
        return {
            "step": statistics.median(seconds),
            "stage": time.process_time() - started,
            "more": peak() - before,
            "training": before,
        }


def measure_masks(criterion: str) -> dict[str, float]:
    """Measure seconds of all rounds, and the most memory that they add to that of ResNet-18, for 95% removed.

    "saliency": of the passes through the network (SynFlow); "threshold": of the choice of the kept weights.
    """
    import torch

    keep_freed_memory()
    shape, classes, _, _ = MODELS["resnet18"]
    with reproducible(1):
        model = create_model("resnet18", shape, classes, 0)
        settings = SparsityConfig(sparsity=0.95, criterion="synflow")
        height, width, channels = shape
        inputs = SaliencyInputs(model, settings, SaliencyLoss(), [], [], (channels, height, width), 0)
        generator, kept = torch.Generator().manual_seed(0), None
        seconds, before = {"saliency": 0.0, "threshold": 0.0}, peak()
        for sparsity in sparsity_schedule(settings.sparsity, MASKS[criterion]):
            started = time.process_time()
            if criterion == "SynFlow":
                saliency = CRITERIA["synflow"](inputs._replace(masks=kept))
            else:
                sizes = {name: weight.shape for name, weight in prunable(model).items()}
                saliency = {n: torch.rand(size, generator=generator, dtype=torch.float64) for n, size in sizes.items()}
            chosen_from = time.process_time()
            kept, _ = keep_largest(saliency, sparsity, kept)
            seconds["saliency"] += chosen_from - started
            seconds["threshold"] += time.process_time() - chosen_from
            del saliency
        total = sum(weight.numel() for weight in prunable(model).values())
        return {**seconds, "more": peak() - before, "weights": total}


def run_case(*case: str) -> dict[str, float]:
    """Measure a case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.epsd_cost", "--case", *case]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs=2, metavar=("MODEL", "STAGE"))
    parser.add_argument("--masks-only", action="store_true", help="measure the choice of the masks, keep the other rows")
    args = parser.parse_args()
    if args.case:
        first, second = args.case
        print(json.dumps(measure_masks(second) if first == "masks" else measure(first, second)))
        return
    committed = json.loads((RESULTS / "epsd_cost.json").read_text(encoding="utf-8"))["cases"] if args.masks_only else []
    known = {(case["model"], case["stage"]): case["runs"] for case in committed}
    lines, data = [], []
    for name, (_, _, samples, words) in MODELS.items():
        for stage in STAGES:
            if name == "resnet18" and stage in ("full, 10 steps", "full, 3 steps, 5 rounds"):
                continue  # minutes each, and the other network shows how they compare
            rounds = 1 if name == "resnet18" else ROUNDS
            runs = known.get((name, stage)) or [run_case(name, stage) for _ in range(rounds)]
            share = [100 * f["stage"] / (f["step"] * samples / BATCH) for f in runs]
            lines.append([
                name, stage, mean_spread([f["stage"] for f in runs], 1),
                mean_spread([f["stage"] / f["step"] for f in runs], 0),
                f"{mean_spread(share, 2)} of {words}", mean_spread([f["more"] for f in runs], 0),
                mean_spread([f["training"] for f in runs], 0),
            ])  # fmt: skip
            data.append({"model": name, "stage": stage, "runs": runs})
            print(lines[-1], file=sys.stderr, flush=True)
    masks = {criterion: run_case("masks", criterion) for criterion in MASKS}
    mask_lines = [
        [criterion, f"{MASKS[criterion]}", f"{row['saliency']:.1f}" if criterion == "SynFlow" else "",
         f"{row['threshold']:.1f}", f"{row['more']:.0f}"]
        for criterion, row in masks.items()
    ]  # fmt: skip
    body = (
        f"CS-KD, saliency batches of {BATCH} images, 95% removed; one thread, processor time. The stage includes drawing "
        "the batches, the threshold and the table of layers. Memory: what the stage adds to the process's peak after "
        "training steps with the same batch.\n\n"
        + table(
            ["network", "stage", "seconds", "in training steps", "% of a full-data training", "MB more", "MB of training"],
            lines,
        )
        + f"\n\nFrom saliencies to masks, all rounds: ResNet-18 ({masks['EPSD']['weights']:,} prunable weights; their "
        "saliencies in float64 take 86 MB), 95% removed, one thread, processor time, one run. EPSD's saliencies are random "
        "numbers here.\n\n"
        + table(
            ["criterion", "rounds", "seconds of saliencies", "seconds of choosing", "MB more, with saliencies"], mask_lines
        )
    )  # fmt: skip
    publish("epsd_cost", "Cost of the pruning stage", COMMAND, body, {"cases": data, "masks": masks})


if __name__ == "__main__":
    main()
