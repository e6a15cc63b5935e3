"""EPSD against simple combinations: masks of a self-distillation loss, or of the labels, then self-distillation.

    DPRUNE_DATA=... python -m benchmarks.epsd [--jobs 2]

Fashion-MNIST, a small ResNet, 95%, 98% and 99% of the weights removed, five paired seeds. Rows of a store: stop it and
start it again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.common import mean_spread, publish, records, table
from benchmarks.epsd_rows import row, rows_of
from datapruning.io.trial_store import Trial

SEEDS = (0, 1, 2, 3, 4)
SHARES = (0.95, 0.98, 0.99)
TRIED = ("cs-kd", "dlb", "ps-kd")
LABELS_ALONE = ("random", "snip", "synflow", "prospr")
COMBINED = ("snip", "prospr")
CONTROL = "prospr, 5 rounds"
VERSIONS: dict[str, dict[str, Any]] = {"epsd": {"rounds": 1}, "epsd, 5 rounds": {"rounds": 5}}
ROUNDS: dict[str, dict[str, Any]] = {CONTROL: {"criterion": "prospr", "rounds": 5}}
COMMAND = "DPRUNE_DATA=... python -m benchmarks.epsd"
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""Student's t, two-sided 95%, by the number of pairs."""
Arm = tuple[str, str]
"""Who prunes (or "dense"), and the self-distillation."""


def arms() -> list[Arm]:
    """Return the trials in the order of the table."""
    plain = [(prune, "none") for prune in LABELS_ALONE]
    return [*plain, *((p, method) for method in TRIED for p in (*COMBINED, CONTROL, *VERSIONS)), ("synflow", TRIED[0])]


def config(arm: Arm, removed: float, seed: int) -> dict[str, Any]:
    """Return the table row of an arm."""
    prune, method = arm
    settings = {"criterion": prune, **ROUNDS.get(prune, {})}
    if prune in VERSIONS:
        settings |= {"criterion": "epsd", **VERSIONS[prune]}
    return row(removed, method=method, seed=seed, **settings)


def paired(one: Sequence[float], other: Sequence[float]) -> str:
    """Format a mean difference with its 95% interval."""
    differences = [a - b for a, b in zip(one, other, strict=True)]
    if len(differences) < 2:
        return f"{differences[0]:+.2f}" if differences else ""
    half = T_95[len(differences)] * statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{statistics.mean(differences):+.2f} ± {half:.2f}"


def main() -> None:
    dense: list[Arm] = [("snip", method) for method in ("none", *TRIED)]
    wanted = [
        entry for seed in SEEDS
        for entry in (*(config(arm, 0.0, seed) for arm in dense), *(config(a, s, seed) for s in SHARES for a in arms()))
    ]  # fmt: skip
    rows = rows_of(wanted, __doc__)
    by_config = {repr(sorted(r.config.items())): r for r in rows}

    def of(arm: Arm, removed: float) -> list[Trial]:
        keys = (repr(sorted(config(arm, removed, seed).items())) for seed in SEEDS)
        return [by_config[key] for key in keys if key in by_config]

    def accuracies(arm: Arm, removed: float) -> list[float]:
        return [r.result["test_accuracy"] for r in of(arm, removed)]

    lines = [["dense", method, mean_spread(accuracies((prune, method), 0.0)), "", ""] for prune, method in dense]
    lines += [[prune, method, *(mean_spread(accuracies((prune, method), s)) for s in SHARES)] for prune, method in arms()]

    def minus(one: Arm, other: Arm) -> list[str]:
        return [paired(accuracies(one, s), accuracies(other, s)) for s in SHARES]

    gains = [
        [f"{version}, {method}", other, *minus((version, method), (other, method))]
        for method in TRIED for version in VERSIONS for other in (*COMBINED, CONTROL)
    ]  # fmt: skip
    helps = [
        [prune, method, *minus((prune, method), (prune, "none"))] for method in TRIED for prune in COMBINED
    ]  # fmt: skip
    stages = {
        version: statistics.median(
            r.result["costs"]["prune"]["seconds"] for method in TRIED for s in SHARES for r in of((version, method), s)
        )
        for version in VERSIONS
    }
    step = statistics.median(
        r.result["costs"]["train"]["seconds"] / r.result["samples_seen"] for r in of(("prospr", "none"), SHARES[0])
    )
    total = rows[0].result["total"]
    full = step * total * 8
    columns = [f"{s:.0%} removed" for s in SHARES]
    kept = [f"{of(('snip', 'none'), s)[0].result['sparsity']['kept']:,}" for s in SHARES]
    body = (
        "Test accuracy in percent, mean ± standard deviation over seeds of initialisation, order, saliency batches and "
        f"subset: 8 epochs of a random tenth (6,000 samples), no teacher. Of 76,944 weights {', '.join(kept)} are kept. "
        "'snip' and 'prospr' with a self-distillation are the simple combinations. The compute is not equal: cs-kd "
        "trains with 1.33 times as much, dlb with twice.\n\n"
        + table(["pruned by", "trained with", *columns], lines)
        + "\n\n## EPSD minus simple combination\n\nPaired by seed, points, 95% interval (Student's t).\n\n"
        + table(["EPSD", "minus", *columns], gains)
        + "\n\n## What self-distillation in training adds\n\nThe same masks, with minus without; paired, 95% interval.\n\n"
        + table(["pruned by", "trained with", *columns], helps)
        + "\n\n## Cost of the stage\n\nMedian of the rows: "
        + ", ".join(f"{version} {seconds:.1f} s" for version, seconds in stages.items())
        + f"; 8 epochs of all {total:,} samples take {full:.0f} s at this speed. `benchmarks.epsd_cost` measures it alone."
    )  # fmt: skip
    publish("epsd", "EPSD against simple combinations", COMMAND, body, {
        "rows": records(rows, keep=("test_accuracy", "seconds", "costs", "samples_seen")),
    })  # fmt: skip


if __name__ == "__main__":
    main()
