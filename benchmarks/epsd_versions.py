"""Comparison of versions of EPSD's saliency, evaluated on pruned-away samples, not on the test set.

    DPRUNE_DATA=... python -m benchmarks.epsd_versions [--jobs 2]

Fashion-MNIST, seeds 10 and up, which the comparison itself does not use. Rows of a store: stop it and start it again.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.common import mean_spread, publish, records, table
from benchmarks.epsd_rows import row, rows_of

SEEDS = (10, 11)
SHARES = (0.95, 0.99)
TRIED = ("cs-kd",)
VERSIONS: dict[str, dict[str, Any]] = {
    "SNIP (labels, no steps)": {"criterion": "snip"},
    "ProsPr (labels, 3 steps)": {"criterion": "prospr"},
    "EPSD, 3 steps": {"criterion": "epsd", "rounds": 1},
    "EPSD, 3 steps, matched": {"criterion": "epsd", "rounds": 1, "match_gradients": True},
    "EPSD, 3 steps, first-order": {"criterion": "epsd", "rounds": 1, "mode": "first-order"},
    "EPSD, 3 steps, 8 batches": {"criterion": "epsd", "rounds": 1, "batches": 8},
    "ProsPr, 8 batches": {"criterion": "prospr", "batches": 8},
    "EPSD, 3 steps, matched, 8 batches": {"criterion": "epsd", "rounds": 1, "batches": 8, "match_gradients": True},
    "EPSD, no steps, matched, 8 batches": {
        "criterion": "epsd",
        "rounds": 1,
        "batches": 8,
        "match_gradients": True,
        "inner_steps": 0,
    },
    "EPSD, 10 steps, fresh batches": {"criterion": "epsd", "rounds": 1, "inner_steps": 10, "fresh_inner_batches": True},
    "EPSD, 3 steps, 5 rounds": {"criterion": "epsd", "rounds": 5},
    "ProsPr, 3 steps, 5 rounds": {"criterion": "prospr", "rounds": 5},
    "EPSD, 3 steps, first-order, 20 rounds": {"criterion": "epsd", "mode": "first-order", "rounds": 20},
    "EPSD, 3 steps, 20 rounds": {"criterion": "epsd", "rounds": 20},
    "ProsPr, 3 steps, 20 rounds": {"criterion": "prospr", "rounds": 20},
    "SNIP, 100 rounds": {"criterion": "snip", "rounds": 100},
    "SynFlow": {"criterion": "synflow"},
    "random": {"criterion": "random"},
}
COMMAND = "DPRUNE_DATA=... python -m benchmarks.epsd_versions"


def main() -> None:
    configs = {
        (name, method, removed): [
            row(removed, method=method, seed=seed, judge="validation", **version) for seed in SEEDS
        ]
        for name, version in VERSIONS.items() for method in TRIED for removed in SHARES
    }  # fmt: skip
    order = [configs[name, m, s][k] for k in range(len(SEEDS)) for s in SHARES for m in TRIED for name in VERSIONS]
    rows = rows_of(order, __doc__)
    accuracies: dict[tuple[str, str, float], list[float]] = {}
    for key, wanted in configs.items():
        accuracies[key] = [r.result["validation"] for r in rows if any(dict(r.config) == w for w in wanted)]
    columns = [(method, removed) for removed in SHARES for method in TRIED]
    lines = [
        [name, *(mean_spread(accuracies[name, m, s]) if accuracies[name, m, s] else "" for m, s in columns),
         f"{statistics.mean(v for m, s in columns for v in accuracies[name, m, s] or [0]):.2f}"]
        for name in VERSIONS
    ]  # fmt: skip
    body = (
        "Accuracy in percent on 10,000 pruned-away samples; mean ± standard deviation over seeds of initialisation, order, "
        "saliency batches and subset. All students are trained with self-distillation, 8 epochs of a random tenth.\n\n"
        + table(["masks by", *(f"{s:.0%} removed, {m}" for m, s in columns), "mean"], lines)
    )
    publish("epsd_versions", "Which version of EPSD", COMMAND, body, {"rows": records(rows, keep=("validation", "seconds"))})


if __name__ == "__main__":
    main()
