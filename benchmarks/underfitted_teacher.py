"""Which KD weight where half of the data is kept: a teacher that has learned little, and one whose labels are wrong.

    DPRUNE_DATA=... python -m benchmarks.underfitted_teacher [--jobs 2] [--report-only]

A teacher that disagrees with the labels of the kept samples may be right, where labels are wrong, or may not have learned
them yet; the best KD weight is another one. Teacher and student are fastnet32 on classes 0 to 39 of CIFAR-100 (20,000
images); the student sees 60,000 samples, 6 epochs of half the data. The prior of `--kd-weight auto` is fitted to these rows,
too (`fit_prior`). About 1 core-hour.
"""

from __future__ import annotations

from typing import Any

from benchmarks.class_sets import train_student
from benchmarks.committed import CommittedRows, run_rows
from benchmarks.common import mean_spread, publish, table
from benchmarks.kd_grid import Cell, Point, accuracies, fixed

DATA = "cifar100:0-39"
SITUATIONS = (("random", 100_000), ("wrong", 320_000), ("random", 60_000))
"""(Condition, samples that the teacher sees): 5, 16 and 3 epochs."""
POINTS = (
    Point(0.5, 4.0, "crop"), Point(1.0, 4.0, "crop"), Point(0.0, 1.0, "crop"), Point(1.0, 20.0, "crop"),
    Point(0.5, 20.0, "crop"), Point(0.25, 4.0, "crop"), Point(0.75, 4.0, "crop"),
)  # fmt: skip
SEEDS = (10,)
NAME = "underfitted_teacher"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.underfitted_teacher"


def student(condition: str, teacher_samples: int, point: Point, seed: int) -> dict[str, Any]:
    """The configuration of a student."""
    return {**fixed(DATA, seed, Cell(condition, "0.5", 60_000), point), "teacher_samples": teacher_samples}


def main() -> None:
    configs = [
        student(condition, samples, point, seed)
        for seed in SEEDS for condition, samples in SITUATIONS for point in POINTS
    ]  # fmt: skip
    run_rows(NAME, configs, train_student, __doc__)
    rows = CommittedRows(NAME).read()
    lines = []
    for condition, samples in SITUATIONS:
        measured = [accuracies(rows, [student(condition, samples, point, seed) for seed in SEEDS]) for point in POINTS]
        labels = "right" if condition == "random" else "20% wrong"
        lines.append([labels, f"{samples:,}", *(mean_spread(values) if values else "" for values in measured)])
    body = (
        "Classes 0 to 39 of CIFAR-100; teacher and student fastnet32, recipe `cifar100-fast`; half of the data kept, 60,000 "
        "samples seen by the student. Test accuracies in percent.\n\n"
        f"{table(['labels', 'samples that the teacher saw', *map(str, POINTS)], lines)}"
    )
    publish(NAME, "KD weight with half of the data, by what the teacher has learned", COMMAND, body, {})


if __name__ == "__main__":
    main()
