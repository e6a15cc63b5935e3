"""Regret of `--kd-weight auto` on the handwritten digits, where few samples leave little to measure with.

    python -m benchmarks.digits_regret [--jobs 2] [--report-only]

72 and 144 samples are kept. The grid is weight {0, 0.5, 0.75, 0.9, 1} x temperature {4, 20}; the prior was fitted on
CIFAR-100 and Fashion-MNIST alone (`results/prior_judged.json`, see `cifar_regret`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.class_sets import JUDGED_PRIOR, KEPT_OF_RESULT
from benchmarks.committed import CommittedRows, run_rows
from benchmarks.common import RESULTS, publish, table
from benchmarks.kd_grid import Cell, Point, auto, fixed, regret_table, regrets
from datapruning.utils.hashing import config_hash

RUNS = tuple(("digits", seed) for seed in range(8))
CELLS = (Cell("random", "0.05", 0), Cell("random", "0.1", 0))
GRID = (Point(0.0, 1.0, "crop"), *(Point(weight, t, "crop") for weight in (0.5, 0.75, 0.9, 1.0) for t in (4.0, 20.0)))
NAME = "digits_regret"
COMMAND = "python -m benchmarks.digits_regret"


def train_student(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """A student of the recipe of the digits, 40 epochs."""
    kd = config["kd"]
    setting = f"kd.prior={RESULTS / config['prior']}" if kd == "auto" else f"kd.temperature={kd['temperature']}"
    context = dp.open_context(
        dp.open_dataset("digits"), device="cpu", loader="memory", workspace=workspace, threads=1, changes=[setting]
    )
    weight = "auto" if kd == "auto" else kd["weight"]
    result = dp.train(context, fraction=config["fraction"], kd_weight=weight, seed=config["seed"]).result.to_json()
    return {key: result[key] for key in KEPT_OF_RESULT if key in result}


def main() -> None:
    configs = [fixed(*run, cell, point) for run in RUNS for cell in CELLS for point in GRID]
    if JUDGED_PRIOR.exists():
        configs += [auto(*run, cell, JUDGED_PRIOR.name) for run in RUNS for cell in CELLS]
    run_rows(NAME, configs, train_student, __doc__)
    rows = CommittedRows(NAME).read()
    lines = []
    for cell in CELLS:
        accuracies = []
        for point in GRID:
            present = [rows.get(config_hash(fixed(*run, cell, point), 16)) for run in RUNS]
            values = [row["result"]["test_accuracy"] for row in present if row is not None]
            accuracies.append(f"{sum(values) / len(values):.2f} (n={len(values)})" if values else "")
        lines.append([cell.fraction, *accuracies])
    body = f"Test accuracy in percent, means over seeds.\n\n{table(['kept', *map(str, GRID)], lines)}"
    compared = {cell: regrets(rows, cell, RUNS, GRID, JUDGED_PRIOR.name) for cell in CELLS}
    if results := {cell: result for cell, result in compared.items() if result is not None}:
        body += f"\n\n{regret_table(results)}"
    publish(NAME, "Regret of KD weight auto on the digits", COMMAND, body, {})


if __name__ == "__main__":
    main()
