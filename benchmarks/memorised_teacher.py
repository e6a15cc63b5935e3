"""A teacher that has memorised its training data beside one that has not: which temperature and crops bring out most.

    DPRUNE_DATA=... python -m benchmarks.memorised_teacher [--jobs 2] [--report-only]

Both teachers are fastnet64, trained on classes 40 to 59 of CIFAR-100; the student, fastnet32, keeps 1,000 of the 10,000
images. The prior (`results/prior_judged.json`) knows neither these classes nor a teacher of this size: it reads the
teachers' predictions on the kept samples. About 1.5 core-hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import datapruning as dp
from benchmarks.class_sets import JUDGED_PRIOR, open_context, train_student
from benchmarks.committed import CommittedRows, run_rows
from benchmarks.common import mean_spread, publish, table
from benchmarks.kd_grid import Cell, Point, accuracies, fixed
from datapruning.runs.training_records import Candidate
from datapruning.teachers.load import load_teacher
from datapruning.teachers.prepare import TeacherLabelSource
from datapruning.training.distillation.candidates import search_space
from datapruning.training.distillation.prior import measure_regime, propose
from datapruning.training.evaluate import predict_correct
from datapruning.utils.fraction import kept_count
from datapruning.utils.hashing import config_hash

DATA, TEACHER = "cifar100:40-59", "fastnet64"
CELL = Cell("random", "0.1", 60_000)
TEACHER_SAMPLES = {"memorised": 400_000, "underfitted": 30_000}
"""Samples that a teacher sees: 40 epochs, or 3."""
SEEDS = (0, 1)
POINTS = tuple(Point(1.0, temperature, kind) for temperature in (4.0, 20.0, 50.0) for kind in ("crop", "resized"))
NAME = "memorised_teacher"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.memorised_teacher"


def student(teacher: str, point: Point, seed: int) -> dict[str, Any]:
    """The configuration of a student."""
    samples = {"teacher_model": TEACHER, "teacher_samples": TEACHER_SAMPLES[teacher]}
    return {**fixed(DATA, seed, CELL, point), **samples}


def run_row(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """A student, or where the configuration has no candidate, what is known of its teacher before any student trains."""
    if "kd" in config:
        return train_student(config, workspace)
    context = open_context(DATA, CELL.condition, workspace, config["teacher_samples"])
    run = dp.teach(context, model=config["teacher_model"])
    teacher = load_teacher(run.folder, context.data, context.device, context.shape)
    everything = np.arange(context.data.total)
    correct = predict_correct(teacher.model, context.loader("train"), everything, context.views)
    kept = kept_count(CELL.fraction, context.data.total)
    ids = dp.select(dp.score(context, "random", seed=0), CELL.fraction, data=context.data).indices
    context = context.for_subset(ids)
    source = TeacherLabelSource(context, [teacher])
    labels = source.labels(context, ids, 0, range(1))
    epochs = round(CELL.samples / kept)
    regime = measure_regime(labels, context.data.train.labels, ids, epochs, context.data.classes)
    candidate, _ = propose(str(JUDGED_PRIOR), search_space(context, 1), regime, recipe_resized=False)
    return {
        "train_accuracy": round(100 * float(correct.mean()), 2), "test_accuracy": run.result.test_accuracy,
        "regime": regime.to_json(), "proposed": candidate.to_json(),
    }  # fmt: skip


def main() -> None:
    teachers = [{"teacher_model": TEACHER, "teacher_samples": samples} for samples in TEACHER_SAMPLES.values()]
    students = [student(teacher, point, seed) for seed in SEEDS for teacher in TEACHER_SAMPLES for point in POINTS]
    run_rows(NAME, [*teachers, *students], run_row, __doc__)
    rows = CommittedRows(NAME).read()
    lines = []
    for teacher, config in zip(TEACHER_SAMPLES, teachers, strict=True):
        if config_hash(config, 16) not in rows:
            continue
        described = rows[config_hash(config, 16)]["result"]
        measured = [accuracies(rows, [student(teacher, point, seed) for seed in SEEDS]) for point in POINTS]
        regime, proposed = described["regime"], Candidate(**described["proposed"])
        lines.append([
            teacher, f"{described['train_accuracy']:.1f}", f"{described['test_accuracy']:.1f}", f"{regime['agreement']:.3f}",
            f"{regime['confidence']:.3f}", str(proposed), *(mean_spread(values) if values else "" for values in measured),
        ])  # fmt: skip
    head = ["teacher", "on its training data", "on the test set", "agreement", "confidence", "the prior proposes"]
    body = (
        f"Classes 40 to 59 of CIFAR-100; teachers {TEACHER} that saw "
        f"{' and '.join(f'{samples:,}' for samples in TEACHER_SAMPLES.values())} samples; student fastnet32, 1,000 kept, "
        "60,000 samples seen, the teacher alone (KD weight 1). Test accuracies in percent, over seeds. Agreement and "
        "confidence are the teacher's on the kept samples, in the first view.\n\n"
        f"{table([*head, *(f'T={p.temperature:g}, {p.kind}' for p in POINTS)], lines)}"
    )
    publish(NAME, "A teacher that has memorised its training data", COMMAND, body, {})


if __name__ == "__main__":
    main()
