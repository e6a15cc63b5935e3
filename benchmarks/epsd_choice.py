"""Which version of EPSD's saliency: on Fashion-MNIST and on classes 0 to 49 of CIFAR-100, judged on pruned-away samples.

    DPRUNE_DATA=... python -m benchmarks.epsd_choice [--jobs 2] [--report-only]

fastnet32-random-init, recipe `cifar100-fast`, four fifths of the data, 50,000 samples seen. All versions run with seed 10;
the best five and the baselines also with seeds 11 and 12. `epsd_cifar100` then compares the version that is chosen here, on
classes 50 to 99 and other seeds. About 2 core-hours. ERK: more of large layers is removed (Erdős–Rényi kernel, Evci et al.
2020).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.committed import run_rows
from benchmarks.common import mean_spread, publish, table
from benchmarks.fast_speed import PRECISION_TEXT
from benchmarks.sparse_students import STUDENT, train_student
from datapruning.utils.hashing import config_hash

SEEDS, FINALISTS = (10, 11, 12), 5
COLUMNS = (("cifar100:0-49", 0.95), ("cifar100:0-49", 0.98), ("fashion-mnist", 0.98))
METHOD, FRACTION, SAMPLES = "cs-kd", "0.8", 50_000
VERSIONS: dict[str, dict[str, Any]] = {
    "EPSD, 5 rounds": {"criterion": "epsd"},
    "and 4 batches": {"criterion": "epsd", "batches": 4},
    "and matched gradients": {"criterion": "epsd", "match_gradients": True},
    "and 30 inner steps on fresh batches, 4 batches, first-order": {
        "criterion": "epsd", "batches": 4, "inner_steps": 30, "fresh_inner_batches": True, "mode": "first-order",
    },
    "and 20 rounds": {"criterion": "epsd", "rounds": 20},
    "and a floor of 0.2": {"criterion": "epsd", "floor": 0.2},
    "and a floor of 0.5": {"criterion": "epsd", "floor": 0.5},
    "and 20 rounds, a floor of 0.2": {"criterion": "epsd", "rounds": 20, "floor": 0.2},
    "and ERK": {"criterion": "epsd", "scope": "erk"},
    "and of each layer as much as SynFlow": {"criterion": "epsd", "scope": "synflow"},
    "and 4 batches, of each layer as much as SynFlow": {"criterion": "epsd", "batches": 4, "scope": "synflow"},
}  # fmt: skip
BASELINES: dict[str, dict[str, Any]] = {
    "ProsPr, 5 rounds": {"criterion": "prospr", "rounds": 5},
    "SynFlow, 100 rounds": {"criterion": "synflow"},
    "random, ERK": {"criterion": "random", "scope": "erk"},
}  # fmt: skip
NAME = "epsd_choice"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.epsd_choice"


def config(version: str, data: str, sparsity: float, seed: int) -> dict[str, Any]:
    """The configuration of a student."""
    return {
        "data": data, "fraction": FRACTION, "samples": SAMPLES, "method": METHOD, "seed": seed, "sparsity": sparsity,
        "settings": {**VERSIONS, **BASELINES}[version], "validate": True,
    }  # fmt: skip


def run(versions: Iterable[str], seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The results of these versions and seeds, by the hash of their configuration."""
    configs = [config(version, *column, seed) for seed in seeds for column in COLUMNS for version in versions]
    return {config_hash(row["config"], 16): row["result"] for row in run_rows(NAME, configs, train_student, __doc__)}


def finalists(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The best versions by their mean over the columns with the first seed."""

    def mean(version: str) -> float:
        keys = [config_hash(config(version, *column, SEEDS[0]), 16) for column in COLUMNS]
        return statistics.mean(rows[key]["validation"] if key in rows else 0.0 for key in keys)

    return sorted(VERSIONS, key=mean, reverse=True)[:FINALISTS]


def main() -> None:
    rows = run([*VERSIONS, *BASELINES], SEEDS[:1])
    rows |= run([*finalists(rows), *BASELINES], SEEDS[1:])
    lines = []
    for version in (*VERSIONS, *BASELINES):
        keys = [[config_hash(config(version, *column, seed), 16) for seed in SEEDS] for column in COLUMNS]
        measured = [[rows[key]["validation"] for key in of_column if key in rows] for of_column in keys]
        means = [statistics.mean(values) for values in measured if values]
        starts = [rows[key]["start"]["correlation"] for of_column in keys for key in of_column if key in rows]
        lines.append([
            version, *(mean_spread(values) if values else "" for values in measured),
            f"{statistics.mean(means):.2f}" if len(means) == len(COLUMNS) else "",
            f"{statistics.mean(starts):.3f}" if starts else "",
        ])  # fmt: skip
    head = ["masks by", *(f"{data}, {sparsity:.0%} removed" for data, sparsity in COLUMNS), "mean", "correlation"]
    body = (
        f"Accuracy in percent on pruned-away samples, over seeds: {SEEDS[0]}, and {SEEDS[1]} and {SEEDS[2]} for the best "
        f"{FINALISTS} versions and the baselines; {STUDENT}, {SAMPLES:,} samples seen, trained with "
        f"{METHOD}. Correlation: of the logits with those of the "
        f"dense twin, before training. {PRECISION_TEXT}\n\n{table(head, lines)}"
    )
    publish(NAME, "Which version of EPSD, on CIFAR-100 and Fashion-MNIST", COMMAND, body, {})


if __name__ == "__main__":
    main()
