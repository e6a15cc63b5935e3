"""How many views do cached soft labels need? Accuracy against V, up to a fresh view every epoch (an online teacher).

    DPRUNE_DATA=... python -m benchmarks.view_counts [--jobs 2]

In epoch e the student sees view e mod V. With as many views as epochs none comes back: that is an online teacher, but
for the float16 of the cache. The test set is looked at once, at the end of each run.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.common import mean_spread, publish, records, table
from benchmarks.view_rows import filled, paired
from datapruning.io.disk_space import format_bytes
from datapruning.io.trial_store import Trial

KD_WEIGHT = 0.9
CELLS = (("0.02", 64), ("0.2", 16))
"""Fractions, and the epochs of their students."""
COUNTS = (1, 2, 4, 8, 16, 32, 64)
SEEDS = 5
CLASSES = 10
COMMAND = "DPRUNE_DATA=... python -m benchmarks.view_counts"


def grid() -> list[dict[str, Any]]:
    """Return all trials seed by seed, so that an interrupted benchmark has complete seeds."""
    lengths = [(f, e, v) for f, e in CELLS for v in COUNTS if v <= e]
    cells = [{"fraction": f, "epochs": e, "kd_weight": KD_WEIGHT, "views": {"num_views": v}} for f, e, v in lengths]
    return [{**cell, "seed": seed} for seed in range(SEEDS) for cell in cells]


def lines(rows: list[Trial], epochs: int) -> list[list[str]]:
    """Return a row of the table for each V of one cell."""
    by_count = {v: [r for r in rows if r.config["views"]["num_views"] == v] for v in COUNTS if v <= epochs}
    table_lines = []
    for count, trials in by_count.items():
        labels = count * trials[0].result["kept"]
        share = statistics.mean(r.result["seconds"]["soft_labels"] / r.result["seconds"]["train"] for r in trials)
        table_lines.append([
            f"{trials[0].config['fraction']} ({trials[0].result['kept']:,})", f"{epochs}",
            f"{count}" + (", a fresh one every epoch" if count == epochs else ""),
            mean_spread([r.result["test_accuracy"] for r in trials]),
            "" if count == epochs else mean_spread(paired(trials, by_count[epochs])),
            f"{labels:,}", format_bytes(labels * (2 * CLASSES + 1)), f"{share:.0%}",
        ])  # fmt: skip
    return table_lines


def main() -> None:
    rows = filled(grid(), "view counts", __doc__)
    body = table(
        ["fraction (kept)", "epochs", "V", "test accuracy", "minus a fresh view every epoch, paired", "soft labels", "disk",
         "time for them / time to train"],
        [line for f, e in CELLS for line in lines([r for r in rows if r.config["fraction"] == f], e)],
    )  # fmt: skip
    about = (
        "Test accuracy in percent of tinynet16 on uniformly random subsets of Fashion-MNIST, KD weight 0.9; mean ± standard "
        "deviation over seeds (a seed draws subset, initialisation and order). Views: the recipe's (flip, crop 2). In a row "
        "of the table everything but V is the same, seed by seed. Soft labels and their disk space are a student's alone; "
        "students of the same subset share them. The teacher's network is as large as the student's."
    )
    title = f"How many views soft labels need, {SEEDS} seeds"
    publish("view_counts", title, COMMAND, f"{about}\n\n{body}", {"rows": records(rows)})


if __name__ == "__main__":
    main()
