"""What the best weight, temperature and crops are on sets of 20 classes of CIFAR-100, and how near `--kd-weight auto` gets.

    DPRUNE_DATA=... python -m benchmarks.cifar_regret [--jobs 2] [--report-only]

The grid is weight {0, 0.5, 1} x temperature {4, 20} x {shifted crops, random resized crops}. Priors are fitted on the sets
of classes 0 to 39; what is claimed is judged on classes 60 to 99.
"""

from __future__ import annotations

from typing import Any

from benchmarks.class_sets import train_student
from benchmarks.committed import run_rows
from benchmarks.common import publish, table
from datapruning.utils.hashing import config_hash

FIT_SETS = ("cifar100:0-19", "cifar100:20-39")
CELLS = (("random", "0.05", 30_000), ("random", "0.1", 60_000), ("random", "0.5", 100_000), ("wrong", "0.1", 60_000))
NUM_VIEWS = 16
GRID = (
    *((0.0, 1.0, kind) for kind in ("crop", "resized")),
    *((weight, temperature, kind) for kind in ("crop", "resized") for weight in (0.5, 1.0) for temperature in (4.0, 20.0)),
)
COMMAND = "DPRUNE_DATA=... python -m benchmarks.cifar_regret"


def config(
    data: str, cell: tuple[str, str, int], weight: float, temperature: float, kind: str, seed: int = 0
) -> dict[str, Any]:
    """The configuration of a trial."""
    condition, fraction, samples = cell
    return {
        "data": data, "condition": condition, "fraction": fraction, "samples": samples,
        "kd": {"weight": weight, "temperature": temperature}, "views": {"kind": kind, "num_views": NUM_VIEWS}, "seed": seed,
    }  # fmt: skip


def main() -> None:
    configs = [config(data, cell, *point) for data in FIT_SETS for cell in CELLS for point in GRID]
    rows = run_rows("cifar_regret", configs, train_student, __doc__)
    accuracies = {config_hash(row["config"]): row["result"]["test_accuracy"] for row in rows}
    names = [f"{w:g}" + (f", T={t:g}" if w else "") + f", {kind}" for w, t, kind in GRID]
    lines = [
        [
            data, f"{cell[0]}, {cell[1]}, {cell[2]:,}",
            *(f"{accuracies[key]:.2f}" if (key := config_hash(config(data, cell, *p))) in accuracies else "" for p in GRID),
        ]
        for data in FIT_SETS for cell in CELLS
    ]  # fmt: skip
    body = f"Test accuracy in percent, one run each.\n\n{table(['set', 'subset, fraction, samples seen', *names], lines)}"
    publish("cifar_regret", "Weight, temperature and crops on sets of 20 classes of CIFAR-100", COMMAND, body, {})


if __name__ == "__main__":
    main()
