"""Data pruning and weight pruning together: a tenth and all of the data, 90% of the weights removed, four kinds of help.

    DPRUNE_DATA=... python -m benchmarks.epsd_data [--jobs 2]

Fashion-MNIST, a small ResNet: labels alone, a teacher that saw all the data, self-distillation (CS-KD), and both. Rows of
a store: stop it and start it again.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import mean_spread, publish, records, table
from benchmarks.epsd import paired
from benchmarks.epsd_rows import row, rows_of

SEEDS = (0, 1, 2)
REMOVED = 0.9
FRACTIONS = {"0.1": (8, 0.9), "1": (2, 0.3)}
"""Epochs, and the KD weight: the more is kept, the smaller."""
COMMAND = "DPRUNE_DATA=... python -m benchmarks.epsd_data"


def helps(weight: float) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return self-distillation and settings of the pruning stage for one configuration."""
    return {
        "labels alone (ProsPr)": ("none", {"criterion": "prospr"}),
        "teacher, pruned by its loss": ("none", {"criterion": "epsd", "loss": "kd", "kd_weight": weight}),
        "teacher, pruned by ProsPr": ("none", {"criterion": "prospr", "kd_weight": weight}),
        "self-distillation, EPSD": ("cs-kd", {"criterion": "epsd"}),
        "both, pruned by both": ("cs-kd", {"criterion": "epsd", "loss": "kd", "kd_weight": weight}),
    }


def main() -> None:
    wanted = {
        (fraction, name, seed): row(REMOVED, seed=seed, method=method, fraction=fraction, epochs=epochs, **more)
        for seed in SEEDS for fraction, (epochs, weight) in FRACTIONS.items()
        for name, (method, more) in helps(weight).items()
    }  # fmt: skip
    rows = rows_of(list(wanted.values()), __doc__)
    by_config = {repr(sorted(r.config.items())): r.result["test_accuracy"] for r in rows}

    def of(fraction: str, name: str) -> list[float]:
        keys = (repr(sorted(wanted[fraction, name, seed].items())) for seed in SEEDS)
        return [by_config[key] for key in keys if key in by_config]

    names = list(helps(0.5))
    lines = [
        [name, *(cell for f in FRACTIONS for cell in (mean_spread(of(f, name)), paired(of(f, name), of(f, names[0]))))]
        for name in names
    ]
    head = [part for f in FRACTIONS for part in (f"f = {f}", "over labels alone")]
    body = (
        f"Test accuracy in percent, {REMOVED:.0%} of the weights removed; mean ± standard deviation over seeds, differences "
        "paired with their 95% interval. f = 0.1: 8 epochs, KD weight 0.9; f = 1: 2 epochs (2.5 times the updates), KD "
        "weight 0.3. The teacher is the dense network, trained on all the data.\n\n" + table(["help", *head], lines)
    )  # fmt: skip
    publish("epsd_data", "Data pruning and EPSD together", COMMAND, body, {
        "rows": records(rows, keep=("test_accuracy", "seconds", "samples_seen")),
    })  # fmt: skip


if __name__ == "__main__":
    main()
