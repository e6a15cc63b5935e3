"""EPSD against simple combinations and baselines at their best, on classes 50 to 99 of CIFAR-100.

    DPRUNE_DATA=... python -m benchmarks.epsd_cifar100 [--jobs 2] [--report-only]

fastnet32-random-init, recipe `cifar100-fast`, all the data, 100,000 samples seen, seeds 0 to 2. The version of EPSD was
chosen on other classes, data and seeds (`epsd_choice`). Differences are paired by seed. About 6 core-hours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.committed import run_rows
from benchmarks.common import mean_spread, publish, table
from benchmarks.fast_speed import PRECISION_TEXT
from benchmarks.kd_grid import interval
from benchmarks.sparse_students import SMALL_NETWORK, STUDENT, train_student
from datapruning.utils.hashing import config_hash

DATA, SEEDS, SAMPLES = "cifar100:50-99", (0, 1, 2), 100_000
METHOD = "cs-kd"
ROUNDS = 5
ARMS: dict[str, dict[str, Any] | None] = {
    "EPSD": {"criterion": "epsd"},
    "SynFlow": {"criterion": "synflow"},
    "SNIP": {"criterion": "snip", "rounds": ROUNDS},
    "random, ERK": {"criterion": "random", "scope": "erk"},
    "ProsPr": {"criterion": "prospr", "rounds": ROUNDS},
    "a dense network of as many weights": None,
}
EVERYWHERE, AT_095 = tuple(ARMS)[:4], tuple(ARMS)[4:]
ENDS, ENDS_ARMS = (0.9, 0.99), tuple(ARMS)[:2]
NAME = "epsd_cifar100"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.epsd_cifar100"
Cell = tuple[str, float, str]
"""Arm, sparsity, method of self-distillation."""
CELLS: list[Cell] = [
    *((arm, 0.95, method) for method in (METHOD, "none") for arm in (*EVERYWHERE, *AT_095)),
    *((arm, 0.98, method) for method in (METHOD, "none") for arm in EVERYWHERE),
    *((arm, sparsity, METHOD) for sparsity in ENDS for arm in ENDS_ARMS),
]


def config(cell: Cell, seed: int) -> dict[str, Any]:
    """The configuration of a student. EPSD's masks are made with the method even where labels alone train it."""
    arm, sparsity, method = cell
    settings = ARMS[arm]
    common = {"data": DATA, "fraction": "1", "samples": SAMPLES, "method": method, "seed": seed}
    if settings is None:
        return {**common, "network": SMALL_NETWORK}
    return {**common, "sparsity": sparsity, "settings": settings}


def main() -> None:
    cells = [cell for cell in CELLS if cell[0] != "EPSD" or cell[2] != "none"]  # without its term it is ProsPr
    configs = [config(cell, seed) for seed in SEEDS for cell in cells]
    rows = {config_hash(row["config"], 16): row["result"] for row in run_rows(NAME, configs, train_student, __doc__)}

    def accuracies(cell: Cell) -> list[float]:
        keys = [config_hash(config(cell, seed), 16) for seed in SEEDS]
        return [rows[key]["test_accuracy"] for key in keys if key in rows]

    columns = sorted({(sparsity, method) for _, sparsity, method in cells}, key=lambda c: (c[0], c[1] != METHOD))
    lines = []
    for arm in ARMS:
        line = [arm]
        for sparsity, method in columns:
            values = accuracies((arm, sparsity, method)) if (arm, sparsity, method) in cells else []
            line.append(mean_spread(values) if values else "")
        lines.append(line)
    comparisons = []
    for arm, sparsity, method in cells:
        ours, others = accuracies(("EPSD", sparsity, METHOD)), accuracies((arm, sparsity, method))
        if arm != "EPSD" and len(ours) == len(others) == len(SEEDS):
            differences = np.array(ours) - np.array(others)
            low, high = interval(differences)
            comparisons.append(
                [f"{sparsity:.0%}", f"{arm}, {method}", f"{differences.mean():+.2f}", f"{low:+.2f} to {high:+.2f}"]
            )
    head = ["pruned by", *(f"{sparsity:.0%} removed, {method}" for sparsity, method in columns)]
    body = (
        f"Classes 50 to 99 of CIFAR-100, {STUDENT}, {SAMPLES:,} samples seen; test accuracy in percent, over seeds. "
        f"{PRECISION_TEXT}\n\n{table(head, lines)}\n\nEPSD with {METHOD} minus the others, paired by seed:\n\n"
        + table(["removed", "against", "difference", "95% interval"], comparisons)
    )
    publish(NAME, "EPSD on CIFAR-100", COMMAND, body, {})


if __name__ == "__main__":
    main()
