"""Where self-distillation helps a network that is not pruned: on a tenth of the data, and on all of it.

    DPRUNE_DATA=... python -m benchmarks.dense_self_distillation [--jobs 2] [--report-only]

Classes 0 to 49 of CIFAR-100 (25,000 images), fastnet32-random-init, recipe `cifar100-fast`, 150,000 samples seen, one seed
a cell. The comparison of pruned networks (`epsd_cifar100`) is made where, and with what, it helps. About 1.5 core-hours.
"""

from __future__ import annotations

from typing import Any

from benchmarks.committed import run_rows
from benchmarks.common import publish, table
from benchmarks.fast_speed import PRECISION_TEXT
from benchmarks.sparse_students import STUDENT, train_student
from datapruning.utils.hashing import config_hash

DATA, SAMPLES, SEED = "cifar100:0-49", 150_000, 10
METHODS = ("none", "cs-kd", "ps-kd", "dlb", "tf-kd")
FRACTIONS = ("0.1", "1")
NAME = "dense_self_distillation"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.dense_self_distillation"


def config(method: str, fraction: str) -> dict[str, Any]:
    """The configuration of a training."""
    return {"data": DATA, "method": method, "fraction": fraction, "samples": SAMPLES, "seed": SEED}


def main() -> None:
    configs = {(method, fraction): config(method, fraction) for fraction in FRACTIONS for method in METHODS}
    rows = {
        config_hash(row["config"], 16): row["result"]
        for row in run_rows(NAME, list(configs.values()), train_student, __doc__)
    }
    lines = []
    for method in METHODS:
        results = [rows.get(config_hash(configs[method, fraction], 16)) for fraction in FRACTIONS]
        compute = next((f"{result['flops'] / 1e12:.1f}" for result in results if result), "")
        lines.append([method, *(f"{result['test_accuracy']:.2f}" if result else "" for result in results), compute])
    head = ["self-distillation", *(f"{float(fraction):.0%} of the data" for fraction in FRACTIONS), "TFLOP"]
    body = (
        f"Classes 0 to 49 of CIFAR-100, {STUDENT}, recipe `cifar100-fast`, {SAMPLES:,} samples seen, seed {SEED}; test "
        "accuracy in percent, one run a cell. CS-KD and DLB pass more images through the network: see their compute. "
        f"{PRECISION_TEXT}\n\n{table(head, lines)}"
    )
    publish(NAME, "Self-distillation of a dense network on CIFAR-100", COMMAND, body, {})


if __name__ == "__main__":
    main()
