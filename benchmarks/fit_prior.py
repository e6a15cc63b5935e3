"""Fit the prior of `--kd-weight auto` to trainings of known outcome.

    DPRUNE_DATA=... python -m benchmarks.fit_prior [--out prior.json]
        [--groups cifar100:0-19,cifar100:20-39,cifar100:0-39,fashion-mnist]

The trainings are the committed rows of `cifar_regret`, `fashion_regret`, `underfitted_teacher` and `memorised_teacher`, and
those of `prior_measured.rows.jsonl` (one H200 and a small network, measured before). A cell is a data set, a subset, a
fraction and a number of samples; within a cell only the differences count. What the prior is worth is measured on groups
that it was not fitted on: by how much its proposal is worse than the best of the grid.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import datapruning as dp
from benchmarks.cifar_regret import EARLY_EPOCHS
from benchmarks.class_sets import TEACHER_SAMPLES, open_context
from benchmarks.committed import CommittedRows
from benchmarks.common import RESULTS, RUNS, publish, table
from datapruning.io.json import write_json
from datapruning.runs.training_records import LABELS_ONLY, Augmentation, Candidate, Regime
from datapruning.teachers.prepare import TeacherLabelSource, load_teachers
from datapruning.teachers.train import train_teacher
from datapruning.training.distillation.prior import SHIPPED, PriorModel, features, measure_regime, terms
from datapruning.utils.fraction import kept_count

TEACHER_EPOCHS = 10
"""Of the teachers of sets of 20 classes."""
GRIDS = ("cifar_regret", "fashion_regret", "underfitted_teacher")
CELL_KEYS = ("data", "condition", "fraction", "samples", "teacher_samples")
MEASURED = RESULTS / "prior_measured.rows.jsonl"
TRANSFER = {
    "classes 0 to 39": ("cifar100:0-19", "cifar100:20-39", "cifar100:0-39"),
    "classes 60 to 99": ("cifar100:60-79", "cifar100:80-99"),
    "Fashion-MNIST": ("fashion-mnist",),
}
RIDGE = 0.3
"""Penalty on the coefficients of standardised terms, in squared points."""
COMMAND = "DPRUNE_DATA=... python -m benchmarks.fit_prior"


@dataclass(frozen=True)
class Cell:
    """Trainings that differ in their candidate alone: test accuracies in percent, means over their seeds."""

    group: str
    name: str
    regime: Regime
    accuracies: Mapping[Candidate, float]
    teacher_ages: tuple[float, ...] = (1.0,)
    recipe_resized: bool = False


def candidate(config: Mapping[str, Any]) -> Candidate:
    """The candidate of a grid's row; its teacher is number 0, or an early checkpoint of those in `EARLY_EPOCHS`."""
    kd, kind, cutmix = config["kd"], config["views"]["kind"], config.get("cutmix", 0.0) > 0
    augmentation: Augmentation = "resized" if kind == "resized" else "recipe"
    if cutmix:
        augmentation = "resized and cutmix" if kind == "resized" else "cutmix"
    if not kd["weight"]:
        return LABELS_ONLY.model_copy(update={"augmentation": augmentation})
    epoch = config.get("teacher_epoch")
    teacher = 0 if epoch is None else 1 + EARLY_EPOCHS.index(epoch)
    return Candidate(weight=kd["weight"], temperature=kd["temperature"], augmentation=augmentation, teacher=teacher)


def measure(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """The regime of a cell."""
    context = open_context(config["data"], config["condition"], workspace, config.get("teacher_samples", TEACHER_SAMPLES))
    ids = dp.select(dp.score(context, "random", seed=0), config["fraction"], data=context.data).indices
    epochs = round(config["samples"] / kept_count(config["fraction"], context.data.total))
    teacher = load_teachers(context, [train_teacher(context, seed=0).folder])
    context = context.for_subset(ids)
    labels = TeacherLabelSource(context, teacher).labels(context, ids, 0, range(1))
    return measure_regime(labels, context.data.train.labels, ids, epochs, context.data.classes).to_json()


def cells_of_grids(workspace: Path) -> list[Cell]:
    """The cells of the grids' committed rows; their regimes are committed, too."""
    grouped: dict[str, tuple[dict[str, Any], dict[Candidate, list[float]]]] = {}
    for name in GRIDS:
        for row in CommittedRows(name).read().values():
            config = row["config"]
            if config["kd"] == "auto":
                continue
            cell = {key: config[key] for key in CELL_KEYS if key in config}
            _, accuracies = grouped.setdefault(json.dumps(cell, sort_keys=True), (cell, {}))
            accuracies.setdefault(candidate(config), []).append(row["result"]["test_accuracy"])
    regimes = CommittedRows("prior_regimes")
    regimes.fill([cell for cell, _ in grouped.values()], measure, workspace)
    measured = {json.dumps(row["config"], sort_keys=True): row["result"] for row in regimes.read().values()}
    return [
        Cell(
            cell["data"], _describe(cell), Regime(**measured[key]),
            {c: float(np.mean(values)) for c, values in accuracies.items()},
            (1.0, *(epoch / TEACHER_EPOCHS for epoch in EARLY_EPOCHS)),
        )
        for key, (cell, accuracies) in grouped.items()
    ]  # fmt: skip


def _describe(cell: Mapping[str, Any]) -> str:
    teacher = f", teacher of {cell['teacher_samples']:,} samples" if "teacher_samples" in cell else ""
    return f"{cell['condition']}, {cell['fraction']}, {cell['samples']:,}{teacher}"


def cells_of_teachers() -> list[Cell]:
    """The cells of `memorised_teacher`, one for each of its teachers."""
    rows = CommittedRows("memorised_teacher").read().values()
    regimes = {row["config"]["teacher_samples"]: row["result"]["regime"] for row in rows if "regime" in row["result"]}
    cells = []
    for samples, regime in regimes.items():
        accuracies: dict[Candidate, list[float]] = {}
        for row in rows:
            if row["config"]["teacher_samples"] == samples and "kd" in row["config"]:
                accuracies.setdefault(candidate(row["config"]), []).append(row["result"]["test_accuracy"])
        means = {choice: float(np.mean(values)) for choice, values in accuracies.items()}
        if means:
            cells.append(Cell("cifar100:40-59", f"teacher of {samples:,} samples, 0.1, 60,000", Regime(**regime), means))
    return cells


def measured_cells() -> list[Cell]:
    """The cells of trainings that were measured before."""
    rows = [json.loads(line) for line in MEASURED.read_text(encoding="utf-8").splitlines()]
    return [
        Cell(
            row["group"],
            row["name"],
            Regime(**row["regime"]),
            {Candidate(**c): a for c, a in row["accuracies"]},
            tuple(row.get("teacher_ages", (1.0,))),
        )
        for row in rows
    ]


def fit(cells: Sequence[Cell], ridge: float = RIDGE) -> PriorModel:
    """Ridge regression of the accuracies within each cell; every cell counts alike."""
    rows, targets = [], []
    for cell in cells:
        matrix = np.array([list(_terms(c, cell).values()) for c in cell.accuracies])
        accuracies = np.array(list(cell.accuracies.values()))
        scale = 1 / np.sqrt(len(accuracies))
        rows.append((matrix - matrix.mean(0)) * scale)
        targets.append((accuracies - accuracies.mean()) * scale)
    x, y = np.concatenate(rows), np.concatenate(targets)
    spread = np.maximum(x.std(0), 1e-9) * np.sqrt(len(x))
    scaled = x / spread
    solution = np.linalg.solve(scaled.T @ scaled + ridge * np.eye(x.shape[1]) / len(cells), scaled.T @ y) / spread
    names = list(_terms(LABELS_ONLY, cells[0]))
    groups = tuple(sorted({f"{cell.group} ({cell.name})" for cell in cells}))
    regimes = [features(cell.regime, min(cell.teacher_ages[c.teacher] for c in cell.accuracies)) for cell in cells]
    return PriorModel(
        coefficients={name: round(float(value), 4) for name, value in zip(names, solution, strict=True)},
        ranges={
            name: (round(min(r[name] for r in regimes), 4), round(max(r[name] for r in regimes), 4)) for name in regimes[0]
        },
        fitted_on=groups,
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    return round(min(values), 4), round(max(values), 4)


def _terms(choice: Candidate, cell: Cell) -> dict[str, float]:
    return terms(choice, features(cell.regime), recipe_resized=cell.recipe_resized, teacher_ages=cell.teacher_ages)


def regret(prior: PriorModel, cell: Cell) -> tuple[Candidate, float]:
    """The prior's proposal among the candidates of a cell, and by how many points the best of them is better."""
    candidates = list(cell.accuracies)
    expected = prior.expected(candidates, cell.regime, recipe_resized=cell.recipe_resized, teacher_ages=cell.teacher_ages)
    proposal = candidates[int(np.argmax(expected))]
    return proposal, max(cell.accuracies.values()) - cell.accuracies[proposal]


def left_out(cells: Sequence[Cell]) -> Iterable[tuple[Cell, Candidate, float, Candidate, float]]:
    """For each cell the proposal and the regret of priors that were fitted on all cells, and on the other groups alone."""
    whole = fit(cells)
    for cell in cells:
        others = fit([other for other in cells if other.group != cell.group])
        yield cell, *regret(whole, cell), *regret(others, cell)


def transfer_table(cells: Sequence[Cell]) -> str:
    """The mean regret of priors that were fitted on some groups, in others."""
    present = {name: groups for name, groups in TRANSFER.items() if any(cell.group in groups for cell in cells)}
    lines = []
    for name, groups in present.items():
        prior = fit([cell for cell in cells if cell.group in groups])
        judged = [[regret(prior, cell)[1] for cell in cells if cell.group in others] for others in present.values()]
        lines.append([name, *(f"{np.mean(regrets):.2f}" for regrets in judged)])
    return table(["fitted on", *(f"regret on {name}" for name in present)], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default="", help="data sets to fit on, separated by commas; all")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--workspace", type=Path, default=RUNS / "committed")
    args = parser.parse_args()
    cells = [*cells_of_grids(args.workspace), *cells_of_teachers(), *measured_cells()]
    groups = args.groups.split(",") if args.groups else sorted({cell.group for cell in cells})
    chosen = [cell for cell in cells if cell.group in groups]
    prior = fit(chosen)
    write_json(args.out, prior.to_json())
    if args.groups:
        print(json.dumps(prior.to_json(), indent=1))
        for cell in cells:
            print(cell.group, cell.name, *regret(prior, cell))
        return
    lines = [
        [
            cell.group, cell.name, f"{cell.regime.kept_per_class:g}", f"{cell.regime.epochs:g}",
            f"{cell.regime.agreement:.3f}", f"{cell.regime.confidence:.3f}", f"{cell.regime.wrong_labels:.3f}", str(own),
            f"{own_regret:.2f}", str(other), f"{other_regret:.2f}",
        ]
        for cell, own, own_regret, other, other_regret in left_out(cells)
    ]  # fmt: skip
    head = ["data", "subset, fraction, samples", "kept a class", "epochs", "agreement", "confidence", "wrong labels",
            "proposal", "regret", "proposal of the other groups", "regret"]  # fmt: skip
    coefficients = table(["term", "points"], [[name, f"{value:+.2f}"] for name, value in prior.coefficients.items()])
    body = (
        "Regret: the best of the cell's trainings minus the proposal's, in points of test accuracy, without any probe. The "
        "last two columns are of a prior that was fitted on the other groups alone.\n\n"
        f"{table(head, lines)}\n\nFrom some groups to others, in the mean over their cells (on its own groups a prior "
        f"is at its best, of course):\n\n{transfer_table(cells)}\n\nCoefficients (the terms are those of "
        f"`datapruning/training/distillation/prior.py`):\n\n{coefficients}"
    )
    publish("fit_prior", "The prior of the search for the KD weight", COMMAND, body, prior.to_json())


if __name__ == "__main__":
    main()
