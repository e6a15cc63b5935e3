"""What the best weight, temperature and crops are on sets of 20 classes of CIFAR-100, and how near `--kd-weight auto` gets.

    DPRUNE_DATA=... python -m benchmarks.cifar_regret [--jobs 2] [--report-only]

The grid is weight {0, 0.5, 1} x temperature {4, 20} x {shifted crops, random resized crops}, and two neighbours of the best.
Priors are fitted on the sets of classes 0 to 39 (and on Fashion-MNIST, `fashion_regret`; `fit_prior --groups ...` writes
`results/prior_judged.json`); what is claimed is judged on classes 60 to 99, with that prior.
"""

from __future__ import annotations

from typing import Any

from benchmarks.class_sets import JUDGED_PRIOR, train_student
from benchmarks.committed import CommittedRows, run_rows
from benchmarks.common import publish
from benchmarks.kd_grid import GRID, Cell, Point, auto, best_point, fixed, grid_table, regret_table, regrets
from datapruning.training.distillation.candidates import CUTMIX_PROB

FIT = (("cifar100:0-19", 0), ("cifar100:20-39", 0))
JUDGE = (("cifar100:60-79", 0), ("cifar100:80-99", 0), ("cifar100:60-79", 1))
CELLS = (
    Cell("random", "0.05", 30_000), Cell("random", "0.1", 60_000), Cell("random", "0.5", 100_000),
    Cell("wrong", "0.1", 60_000),
)  # fmt: skip
EARLY_POINT, EARLY_EPOCHS = Point(1.0, 20.0, "crop"), (5, 3)
"""Early checkpoints of the teacher, which trains for 10 epochs, and what they are tried with."""
LITTLE_KEPT_POINTS = (Point(1.0, 20.0, "crop"), Point(1.0, 20.0, "resized"))
MUCH_KEPT_POINTS = (Point(1.0, 20.0, "crop"), Point(0.5, 4.0, "crop"))
CUTMIX_POINTS = dict(zip(CELLS, (LITTLE_KEPT_POINTS, LITTLE_KEPT_POINTS, MUCH_KEPT_POINTS), strict=False))
"""What CutMix is tried with."""
NAME = "cifar_regret"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.cifar_regret"


def fit_configs() -> list[dict[str, Any]]:
    """The trainings that priors are fitted to: the grid, early checkpoints, CutMix."""
    grid = [fixed(*run, cell, point) for run in FIT for cell in CELLS for point in GRID]
    early = [
        {**fixed(*run, cell, EARLY_POINT), "teacher_epoch": epoch}
        for run in FIT
        for cell in CELLS[:2]
        for epoch in EARLY_EPOCHS
    ]
    cutmix = [
        {**fixed(*run, cell, point), "cutmix": CUTMIX_PROB}
        for run in FIT
        for cell, points in CUTMIX_POINTS.items()
        for point in points
    ]
    return [*grid, *early, *cutmix]


def main() -> None:
    run_rows(NAME, fit_configs(), train_student, __doc__)
    if not JUDGED_PRIOR.exists():
        return
    run_rows(NAME, [fixed(*run, cell, point) for run in JUDGE for cell in CELLS for point in GRID], train_student, __doc__)
    rows = CommittedRows(NAME).read()
    best = {cell: best_point(rows, cell, JUDGE, GRID) for cell in CELLS}
    points = {cell: [*GRID, *point.neighbours()] for cell, point in best.items() if point is not None}
    judge = [fixed(*run, cell, point) for run in JUDGE for cell in points for point in points[cell]]
    searches = [auto(*run, cell, JUDGED_PRIOR.name) for run in JUDGE for cell in CELLS]
    run_rows(NAME, [*judge, *searches], train_student, __doc__)
    rows = CommittedRows(NAME).read()
    body = f"Test accuracy in percent, one run each.\n\n{grid_table(rows, [*FIT, *JUDGE], CELLS)}"
    by_cell = {cell: regrets(rows, cell, JUDGE, points[cell], JUDGED_PRIOR.name) for cell in points}
    if results := {cell: result for cell, result in by_cell.items() if result is not None}:
        body += f"\n\n## Regret on classes 60 to 99\n\n{regret_table(results)}"
    publish(NAME, "Weight, temperature and crops on sets of 20 classes of CIFAR-100", COMMAND, body, {})


if __name__ == "__main__":
    main()
