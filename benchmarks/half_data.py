"""Half of CIFAR-100 with a teacher against all of it without one, at equal compute.

    DPRUNE_DATA=... python -m benchmarks.half_data [--jobs 2] [--report-only]

`$DPRUNE_DATA` holds `cifar100.npz`. At equal compute the student sees so few samples that its training, the search of
`--kd-weight auto` and the soft labels together cost as much as the training on everything: a training pass counts three
forward passes, each weighted by its network's FLOPs. The teacher's own training is a column of its own. About 2 core-hours;
rows are committed, so stop it and start it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.committed import run_rows
from benchmarks.common import mean_spread, publish, table
from benchmarks.fast_speed import PRECISION_TEXT, cifar100_context
from datapruning.training.distillation.validation import search_cost
from datapruning.utils.cost import FORWARD_PASS_COST, NO_COST, TRAINING_PASS_FORWARDS

HALF = "0.5"
EXPECTED_SEARCH = 0.5
"""Share of the most that a search may cost that it is taken to cost, for it stops where probes promise too little; what it
has cost is in the table."""
BUDGETS = ((200_000, (0, 1, 2)), (600_000, (0,)))
"""Samples that the training on everything sees, and seeds."""
ALL, EQUAL_COMPUTE = "all the data, labels alone", "half, auto, equal compute"
HALF_LABELS, HALF_FIXED = "half, labels alone", "half, weight 0.5 at T=4"
"""What the search and its soft labels are worth: no teacher, and a teacher without a search, at equal compute."""
NAME = "half_data"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.half_data"


def affordable_samples(budget: int, search_budget: float) -> int:
    """Samples that a student may see so that its training, search and soft labels cost about `budget` training passes.

    A `search_budget` of 0 is that of a student without a search.

    The labels are of a teacher of its own size, and of a new view in every epoch, as in a short training they are.
    """
    samples = float(budget)
    for _ in range(50):  # the search's cost, in trainings, depends on the samples but little: this converges at once
        search = search_cost(search_budget, round(samples)) * EXPECTED_SEARCH
        samples = budget / (1 + search + FORWARD_PASS_COST)
    return round(samples)


def train_row(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """One training, with the compute of its parts in training passes of the student's network."""
    context = cifar100_context("cifar100-fast", workspace)
    samples, what = config["samples"], config["what"]
    if what in (EQUAL_COMPUTE, HALF_FIXED):
        samples = affordable_samples(samples, context.recipe.kd.search_budget if what == EQUAL_COMPUTE else 0)
    if what == HALF_FIXED:
        context = context.with_settings("kd", temperature=4.0)
    kd_weight: float | str = {EQUAL_COMPUTE: "auto", HALF_FIXED: 0.5}.get(what, 0)
    run = dp.train(context, fraction="1" if what == ALL else HALF, kd_weight=kd_weight, samples=samples, seed=config["seed"])
    result, costs = run.result, run.result.costs
    parts = {"train": costs.train, "search": costs.search, "labels": costs.soft_labels, "teacher": costs.teacher}
    training = costs.train or NO_COST
    pass_flops = (training.flops or 0) / training.training_passes
    passes = {name: round(((cost or NO_COST).flops or 0) / pass_flops) for name, cost in parts.items()}
    search = result.kd_weight_search
    return {
        "test_accuracy": result.test_accuracy, "samples_seen": result.samples_seen, "passes": passes,
        "precision": result.precision,
        "kd_weight_search": search.to_json() if search else None,
    }  # fmt: skip


def main() -> None:
    configs = [
        {"what": what, "samples": samples, "seed": seed}
        for both in ((ALL, EQUAL_COMPUTE), (HALF_LABELS, HALF_FIXED))
        for samples, seeds in BUDGETS for seed in seeds for what in both
    ]  # fmt: skip
    rows = run_rows(NAME, configs, train_row, __doc__)
    lines = []
    for samples, _ in BUDGETS:
        of_budget = [row for row in rows if row["config"]["samples"] == samples]
        reference = {
            row["config"]["seed"]: row["result"]["test_accuracy"] for row in of_budget if row["config"]["what"] == ALL
        }
        for what in (ALL, EQUAL_COMPUTE, HALF_LABELS, HALF_FIXED):
            matching = [row for row in of_budget if row["config"]["what"] == what]
            if not matching:
                continue
            results = [row["result"] for row in matching]
            paired = [
                row["result"]["test_accuracy"] - reference[row["config"]["seed"]]
                for row in matching if what != ALL and row["config"]["seed"] in reference
            ]  # fmt: skip
            searches = [result["kd_weight_search"] for result in results if result["kd_weight_search"]]
            passes = [result["passes"] for result in results]
            in_all = [sum(p.values()) - p["teacher"] for p in passes]
            lines.append([
                f"{samples:,}", what, f"{results[0]['samples_seen']:,}",
                *(f"{sum(p[part] for p in passes) / len(passes):,.0f}" for part in ("search", "labels")),
                f"{sum(in_all) / len(in_all):,.0f}", mean_spread([result["test_accuracy"] for result in results]),
                mean_spread(paired) if paired else "", f"{passes[0]['teacher']:,}",
                "; ".join(f"{s['weight']:g}, T={s['temperature']:g}, {s['augmentation']}" for s in searches),
            ])  # fmt: skip
    head = [
        "budget", "training", "samples seen", "search", "soft labels", "compute in all", "accuracy", "against all the data",
        "the teacher's training, not counted", "chosen",
    ]  # fmt: skip
    body = (
        "CIFAR-100, fastnet32, recipe `cifar100-fast`, random halves, evaluated once. Compute is in training passes of the "
        f"student's network (a training pass is {TRAINING_PASS_FORWARDS} forward passes); the teacher has the same network. "
        f"Differences are paired by seed. {PRECISION_TEXT}\n\n{table(head, lines)}"
    )
    publish(NAME, "Half of the data with a teacher, all of it without", COMMAND, body, {})


if __name__ == "__main__":
    main()
