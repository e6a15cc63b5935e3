"""Data and weights pruned together: a tenth of CIFAR-100 with a teacher, and 0 to 95% of the student's weights removed.

    DPRUNE_DATA=... python -m benchmarks.epsd_joint [--jobs 2] [--report-only]

Classes 50 to 99, fastnet32-random-init, the teacher alone at T=20, 100,000 samples seen, seeds 0 to 2. Published for
ResNet-18: 71.9 with a tenth of all of CIFAR-100 and 90% of the weights of the last layers removed. About 1.5 core-hours.
"""

from __future__ import annotations

from typing import Any

from benchmarks.committed import run_rows
from benchmarks.common import mean_spread, publish, table
from benchmarks.fast_speed import PRECISION_TEXT
from benchmarks.sparse_students import STUDENT, train_student
from datapruning.utils.hashing import config_hash

DATA, SEEDS, SAMPLES, FRACTION = "cifar100:50-99", (0, 1, 2), 100_000, "0.1"
KD: dict[str, dict[str, Any]] = {
    "the teacher alone, T=20": {"kd_weight": 1.0, "temperature": 20.0},
    "labels alone": {},
}
SPARSITIES = (0.0, 0.8, 0.9, 0.95)
CRITERION = "synflow"
"""Needs neither data nor a self-distillation term, so that all students differ in the teacher alone."""
NAME = "epsd_joint"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.epsd_joint"


def config(kd: str, sparsity: float, seed: int) -> dict[str, Any]:
    """The configuration of a student."""
    common = {"data": DATA, "fraction": FRACTION, "samples": SAMPLES, "method": "none", "seed": seed, **KD[kd]}
    return {**common, "sparsity": sparsity, "settings": {"criterion": CRITERION}} if sparsity else common


def main() -> None:
    configs = [config(kd, sparsity, seed) for seed in SEEDS for kd in KD for sparsity in SPARSITIES]
    rows = {config_hash(row["config"], 16): row["result"] for row in run_rows(NAME, configs, train_student, __doc__)}
    lines = []
    for sparsity in SPARSITIES:
        line = [f"{sparsity:.0%}"]
        for kd in KD:
            keys = [config_hash(config(kd, sparsity, seed), 16) for seed in SEEDS]
            values = [rows[key]["test_accuracy"] for key in keys if key in rows]
            line.append(mean_spread(values) if values else "")
        lines.append(line)
    body = (
        f"Classes 50 to 99 of CIFAR-100, a random {float(FRACTION):.0%} of the data, {STUDENT} pruned by {CRITERION}, "
        f"{SAMPLES:,} samples seen; test accuracy in percent, over seeds. {PRECISION_TEXT}\n\n"
        f"{table(['weights removed', *KD], lines)}"
    )
    publish(NAME, "Data and weights pruned together", COMMAND, body, {})


if __name__ == "__main__":
    main()
