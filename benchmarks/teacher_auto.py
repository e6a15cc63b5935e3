"""Does `--teacher auto` choose as well as an oracle? Three candidates, Fashion-MNIST, KD weight auto.

    DPRUNE_DATA=... python -m benchmarks.teacher_auto [--jobs 2]

The best fixed teacher is picked by TEST accuracy on half the seeds and measured on the other half, both ways.
"""

from __future__ import annotations

import statistics
from collections import Counter

import numpy as np

from benchmarks.common import mean_spread, publish, records, table
from benchmarks.regret import regrets
from benchmarks.tiny import LADDER, STUDENT, filled, row

SEEDS = {"0.02": range(6), "0.2": range(3)}
COMMAND = "DPRUNE_DATA=... python -m benchmarks.teacher_auto"


def main() -> None:
    configs = [row("random", f, "auto", seed, t) for f, seeds in SEEDS.items() for seed in seeds for t in (*LADDER, "auto")]
    rows = filled(configs, "teacher auto", __doc__)
    teacher_accuracies = {r.result["teacher"][0]["model"]: r.result["teacher"][0]["test_accuracy"] for r in rows}
    lines = []
    for fraction, seeds in SEEDS.items():
        by_teacher = {
            teacher: [
                next(r for r in rows if dict(r.config) == row("random", fraction, "auto", seed, teacher)) for seed in seeds
            ]
            for teacher in (*LADDER, "auto")
        }
        runs = {teacher: [float(r.result["test_accuracy"]) for r in trials] for teacher, trials in by_teacher.items()}
        regret = regrets(np.array([runs[teacher] for teacher in LADDER]), np.array(runs["auto"]))
        chosen = Counter(r.result["teacher"][0]["model"] for r in by_teacher["auto"])
        cost = statistics.mean(r.result["kd_weight_search"]["cost"] for r in by_teacher["auto"])
        lines.append([
            fraction, *(mean_spread(runs[teacher]) for teacher in (*LADDER, "auto")),
            ", ".join(f"{name} {count}x" for name, count in chosen.most_common()),
            f"{regret.mean():+.2f} ± {regret.std(ddof=1):.2f}", f"{1 + cost:.2f}",
        ])  # fmt: skip
    head = ["fraction", *LADDER, "auto", "auto chose", "best fixed - auto", "cost in trainings"]
    body = (
        f"Test accuracy in percent of the student {STUDENT} on random subsets, KD weight auto, by teacher; mean ± standard "
        "deviation over paired seeds. The teachers' own accuracies: "
        + ", ".join(f"{model} {teacher_accuracies[model]:.2f}" for model in LADDER)
        + ". Cost: the run with its search, without the teachers and their soft labels.\n\n"
        + table(head, lines)
    )
    publish("teacher_auto", "Teacher auto against each teacher of the ladder", COMMAND, body, {"rows": records(rows)})


if __name__ == "__main__":
    main()
