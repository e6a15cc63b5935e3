"""Does a teacher help on a random fraction of Fashion-MNIST? KD against no KD, same subset, same budget, several seeds.

    DPRUNE_DATA=... python -m benchmarks.fashion_mnist [--jobs 2] [--seeds 3]

Every run is a row of a store: stop it whenever you like, start it again, start it from several shells. The test set is
looked at once, at the end of each run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.common import RUNS, data_folder, mean_spread, publish, records, table
from datapruning.config import plain
from datapruning.context import Context
from datapruning.memory import keep_freed_memory
from datapruning.progress import say
from datapruning.store import Row, RowStore

FRACTIONS = ("0.02", "0.1", "0.5")
WEIGHTS: tuple[str | float, ...] = (0.0, 0.9, "auto")
FULL = {"fraction": "1", "kd_weight": 0.0}
COMMAND = "DPRUNE_DATA=... python -m benchmarks.fashion_mnist"


def grid(seeds: int) -> list[dict[str, Any]]:
    """All rows, one seed after the other, so that a run cut short has whole seeds."""
    cells = [{"fraction": f, "kd_weight": w} for f in FRACTIONS for w in WEIGHTS]
    return [{**cell, "seed": seed} for seed in range(seeds) for cell in cells] + [{**FULL, "seed": s} for s in range(seeds)]


def open_store(workspace: Path, threads: int) -> tuple[Context, RowStore]:
    """The context of one process, and the store that all processes share."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    context = dp.open_context(data, device="cpu", workspace=workspace, threads=threads)
    about = {"fingerprint": data.fingerprint, "recipe": plain(context.recipe), "threads": threads}
    return context, RowStore(workspace / "rows", about)


def run_row(context: Context, config: Mapping[str, Any]) -> dict[str, Any]:
    """One student."""
    student = dp.train(context, fraction=config["fraction"], kd_weight=config["kd_weight"], seed=config["seed"])
    return student.result


def work(workspace: Path, threads: int, configs: Sequence[Mapping[str, Any]]) -> None:
    """Fill rows until none is left."""
    keep_freed_memory()  # as `dprune` does
    context, store = open_store(workspace, threads)
    store.run_all(configs, lambda config: run_row(context, config), label="fashion-mnist")


def report(rows: Sequence[Row], seeds: int) -> None:
    """Print and write the table."""
    by_cell: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_cell.setdefault((row.config["fraction"], str(row.config["kd_weight"])), []).append(row)

    def accuracies(fraction: str, weight: str) -> list[float]:
        return [r.result["test_accuracy"] for r in sorted(by_cell[fraction, weight], key=lambda r: r.config["seed"])]

    lines = []
    for fraction in FRACTIONS:
        plain_runs, auto = accuracies(fraction, "0.0"), by_cell[fraction, "auto"]
        gains = [a - b for a, b in zip(accuracies(fraction, "auto"), plain_runs, strict=True)]
        chosen = sorted(r.result["kd_weight"] for r in auto)
        seen = auto[0].result["samples_seen"]
        search = statistics.mean(sum(t["samples_seen"] for t in r.result["kd_weight_search"]["trials"]) for r in auto)
        lines.append([
            f"{fraction} ({auto[0].result['kept']:,})", mean_spread(plain_runs), mean_spread(accuracies(fraction, "0.9")),
            mean_spread(accuracies(fraction, "auto")), mean_spread(gains), ", ".join(f"{w:g}" for w in chosen),
            f"{seen:,} + {search:,.0f}",
        ])  # fmt: skip
    full = [r.result["test_accuracy"] for r in by_cell[FULL["fraction"], "0.0"]]  # type: ignore[index]
    teacher = by_cell[FRACTIONS[0], "auto"][0].result["teacher"][0]
    head = [
        "fraction (kept)", "no KD", "KD weight 0.9", "KD weight auto", "auto - no KD, paired", "weights auto chose",
        "samples seen: run + search",
    ]  # fmt: skip
    body = (
        "Test accuracy in percent of the small convnet on uniformly random subsets; mean ± standard deviation over seeds "
        "(a seed draws subset, initialisation and order). In a row of the table everything but the KD weight is the same, "
        f"seed by seed. Budget: epochs. Teacher: the same network on the full data, {teacher['test_accuracy']:.2f}.\n\n"
        f"{table(head, lines)}\n\nFull data without KD: {mean_spread(full)}."
    )
    title = f"Fashion-MNIST: KD against no KD, {seeds} seeds"
    publish("fashion_mnist", title, COMMAND, body, {"rows": records(rows)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="processes that fill rows")
    parser.add_argument("--threads", type=int, default=1, help="torch threads a process; part of the rows' identity")
    parser.add_argument("--workspace", type=Path, default=RUNS / "fashion_mnist")
    args = parser.parse_args()
    configs = grid(args.seeds)
    if args.jobs > 1:
        spawn = multiprocessing.get_context("spawn")
        others = [spawn.Process(target=work, args=(args.workspace, args.threads, configs)) for _ in range(args.jobs - 1)]
        for process in others:
            process.start()
    work(args.workspace, args.threads, configs)
    _, store = open_store(args.workspace, args.threads)
    rows = [row for config in configs if (row := store.get(config)) is not None]
    say(f"{len(rows)} rows, {sum(r.seconds for r in rows) / 60:.0f} minutes in all, teacher and soft labels included")
    report(rows, args.seeds)


if __name__ == "__main__":
    main()
