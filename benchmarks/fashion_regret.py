"""The same as `cifar_regret` on Fashion-MNIST: rows to fit priors on, and auto with a prior of CIFAR-100 alone.

    DPRUNE_DATA=... python -m benchmarks.fashion_regret [--jobs 2] [--report-only]

`fit_prior --groups cifar100:0-19,cifar100:20-39,cifar100:0-39 --out benchmarks/results/prior_cifar.json` writes that
prior.
"""

from __future__ import annotations

from benchmarks.class_sets import train_student
from benchmarks.committed import CommittedRows, run_rows
from benchmarks.common import RESULTS, publish
from benchmarks.kd_grid import GRID, Cell, auto, fixed, grid_table, regret_table, regrets

SEEDS = tuple(("fashion-mnist", seed) for seed in (0, 1, 2))
CELLS = (Cell("random", "0.02", 30_000), Cell("random", "0.1", 30_000))
PRIOR = RESULTS / "prior_cifar.json"
NAME = "fashion_regret"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.fashion_regret"


def main() -> None:
    configs = [fixed(*run, cell, point) for run in SEEDS[:1] for cell in CELLS for point in GRID]
    if PRIOR.exists():
        configs += [auto(*run, cell, PRIOR.name) for run in SEEDS for cell in CELLS]
        configs += [fixed(*run, cell, point) for run in SEEDS[1:] for cell in CELLS for point in GRID]
    run_rows(NAME, configs, train_student, __doc__)
    rows = CommittedRows(NAME).read()
    body = f"Test accuracy in percent, one run each.\n\n{grid_table(rows, SEEDS, CELLS)}"
    by_cell = {cell: regrets(rows, cell, SEEDS, GRID, PRIOR.name) for cell in CELLS}
    if results := {cell: result for cell, result in by_cell.items() if result is not None}:
        body += f"\n\n## Regret with a prior of CIFAR-100 alone\n\n{regret_table(results)}"
    publish(NAME, "Weight, temperature and crops on Fashion-MNIST", COMMAND, body, {})


if __name__ == "__main__":
    main()
