"""Accuracy on CIFAR-100 for 0.1 PFLOP of training: fast networks of three widths, and ResNet-20.

    DPRUNE_DATA=... python -m benchmarks.fast_speed [--jobs 2] [--report-only]

`$DPRUNE_DATA` holds `cifar100.npz`. Each network sees as many samples as 0.1 PFLOP pay for (a training pass is three forward
passes), by the recipe of its kind. One seed of each width comes first; the best width then has three seeds of its own. About
15 to 20 minutes of one core a row; rows are committed, so stop it and start it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.committed import Row, run_rows
from benchmarks.common import data_folder, fast_precision, mean_spread, publish, table
from datapruning.data.dataset import Dataset
from datapruning.models.flops import forward_flops
from datapruning.runs.context import Context
from datapruning.runs.result import StudentResult
from datapruning.utils.cost import TRAINING_PASS_FORWARDS

FLOPS = 10**14
SHAPE, CLASSES = (32, 32, 3), 100
RECIPES = {
    "fastnet128": "cifar100-fast", "fastnet64": "cifar100-fast", "fastnet32": "cifar100-fast", "resnet20": "cifar100",
}  # fmt: skip
WIDTHS, REFERENCE = tuple(RECIPES)[:3], "resnet20"
SEEDS = (1, 2, 3)
"""Seeds that are reported; seed 0 chooses the width."""
PRECISION_TEXT = "Training passes are in bf16 where the processor has AMX, else in fp32; the rows say which."
COMMAND = "DPRUNE_DATA=... python -m benchmarks.fast_speed"


@cache
def open_cifar100() -> Dataset:
    """Open CIFAR-100 with all its classes."""
    return dp.open_dataset(str(data_folder() / "cifar100.npz"))


def cifar100_context(recipe: str, workspace: Path, changes: Sequence[str] = ()) -> Context:
    """CIFAR-100 on one thread of the CPU, in the precision that it is fast in."""
    precisions = [f"{table}.precision={fast_precision()}" for table in ("train", "teacher")]
    return dp.open_context(
        open_cifar100(), recipe=recipe, device="cpu", loader="memory", workspace=workspace, threads=1,
        changes=[*precisions, *changes],
    )  # fmt: skip


def affordable_samples(network: str) -> int:
    """How many training passes of a network the budget pays for."""
    return round(FLOPS / (TRAINING_PASS_FORWARDS * forward_flops(network, SHAPE, CLASSES)))


def config(network: str, seed: int) -> dict[str, Any]:
    """The configuration of a trial."""
    return {"network": network, "recipe": RECIPES[network], "samples": affordable_samples(network), "seed": seed}


def train_network(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """Train a network on all the data, by labels alone."""
    context = cifar100_context(config["recipe"], workspace)
    run = dp.train(context, fraction=1, kd_weight=0, model=config["network"], samples=config["samples"], seed=config["seed"])
    return summarise(run.result)


def summarise(result: StudentResult) -> dict[str, Any]:
    """What the rows of trainings keep of a student's result."""
    cost = result.training_cost
    return {
        "test_accuracy": result.test_accuracy, "samples_seen": cost.samples_seen, "flops": cost.flops,
        "precision": result.precision,
    }  # fmt: skip


def best_width(rows: Sequence[Row]) -> str | None:
    """The network that seed 0 is best of; None: not all widths are there."""
    accuracies = {row["config"]["network"]: row["result"]["test_accuracy"] for row in rows}
    return max(accuracies, key=accuracies.__getitem__) if len(accuracies) == len(WIDTHS) else None


def lines(rows: Sequence[Row]) -> list[list[str]]:
    """A line a network: those of seed 0, then those of the other seeds."""
    text = []
    for chosen in (True, False):
        for network in RECIPES:
            trials = [row for row in rows if row["config"]["network"] == network and (row["config"]["seed"] == 0) is chosen]
            if trials:
                samples = trials[0]["config"]["samples"]
                text.append([
                    f"`{network}`", trials[0]["config"]["recipe"], ", ".join(str(row["config"]["seed"]) for row in trials),
                    f"{forward_flops(network, SHAPE, CLASSES) / 1e6:.1f}", f"{samples:,}",
                    f"{samples / open_cifar100().total:.1f}",
                    mean_spread([row["result"]["test_accuracy"] for row in trials]),
                    mean_spread([row["seconds"] / 60 for row in trials], 0),
                ])  # fmt: skip
    return text


def main() -> None:
    first = [config(network, 0) for network in WIDTHS]
    rows = run_rows("fast_speed", first, train_network, __doc__)
    best = best_width(rows)
    if best:
        others = [config(network, seed) for seed in SEEDS for network in (best, REFERENCE)]
        rows = run_rows("fast_speed", [*first, *others], train_network, __doc__)
    head = ["network", "recipe", "seeds", "MFLOP a forward pass", "samples", "epochs", "accuracy", "minutes"]
    body = (
        f"All 50,000 training images, labels alone, {FLOPS / 1e15:g} PFLOP of training (three times the forward passes; "
        "convolutions and matrix products, two operations a multiply-add), evaluated once, without test-time augmentation. "
        "Seed 0 chose the width by the test set, so its accuracies are for that choice alone; what the fast network reaches "
        f"is the mean over the other seeds. {PRECISION_TEXT} Minutes are of one core, while "
        f"others worked.\n\n{table(head, lines(rows))}"
    )
    publish("fast_speed", "CIFAR-100 for 0.1 PFLOP", COMMAND, body, {"rows": rows})


if __name__ == "__main__":
    main()
