"""The tables of a sweep: accuracies by setting and KD weight, over seeds, and a CSV with a line for each trial."""

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from datapruning.experiments.sweep.grid import Grid
from datapruning.experiments.sweep.spec import AUTO, StudentSpec, format_weight
from datapruning.experiments.sweep.status import StudentRecord, SweepStatus
from datapruning.io.trial_store import Trial
from datapruning.utils.plural import plural

COLUMNS = (
    "fraction", "kept", "scorer", "kd_weight", "teacher", "sparsity", "criterion", "self_distill", "seed", "status",
    "test_accuracy", "kd_weight_used", "samples_seen", "seconds", "folder", "error",
)  # fmt: skip
VARIANT_COLUMNS = ("sparsity", "criterion", "self_distill")
"""Columns of rows.csv that are there where the grid varies them."""


def make_table(status: SweepStatus, live: bool = False) -> list[list[str]]:
    """Pivot the records: a line for each combination of settings, a column for each KD weight, cells over the seeds.

    Returns the titles, then the lines. With `live`, cells also say how many trials are running.
    """
    columns, weights = _setting_columns(status.grid), status.grid.kd_weights
    pivot: dict[tuple[str, ...], dict[float | str, list[StudentRecord]]] = {}
    for record in status.records():
        settings = tuple(text(record.spec) for text in columns.values())
        pivot.setdefault(settings, {weight: [] for weight in weights})[record.spec.kd_weight].append(record)
    titles = [*columns, *("no KD" if weight == 0 else f"KD weight {format_weight(weight)}" for weight in weights)]
    return [titles, *([*settings, *(_cell(cells[w], live) for w in weights)] for settings, cells in pivot.items())]


def _setting_columns(grid: Grid) -> dict[str, Callable[[StudentSpec], str]]:
    """Return the columns that identify the students of a line: title -> text of a student's setting."""
    columns: dict[str, Callable[[StudentSpec], str]] = {
        "fraction": lambda spec: spec.fraction,
        "kept": lambda spec: f"{grid.kept(spec.fraction):,}",
        "scorer": lambda spec: spec.scorer or "(all)",
    }
    if len(grid.teachers) > 1:
        columns["teacher"] = lambda spec: grid.teachers.get(spec.teacher, "none") if spec.teacher else "none"
    if any(grid.prunings):
        columns["weights removed"] = lambda spec: spec.pruning_text or "none"
    if any(grid.self_distillations):
        columns["self-distillation"] = lambda spec: spec.self_distillation.method if spec.self_distillation else "none"
    return columns


def _cell(records: Sequence[StudentRecord], live: bool) -> str:
    """Accuracy and, where trials are missing, of how many trials: 90.20 ± 0.16 (2 of 3, 1 running)."""
    finished = [record.trial for record in records if record.trial is not None]
    parts = [format_accuracy(finished)] if finished else []
    if finished and records[0].spec.kd_weight == AUTO:
        chosen = sorted({float(trial.result["kd_weight"]) for trial in finished})
        parts.append("at " + "-".join(f"{weight:.2g}" for weight in sorted({chosen[0], chosen[-1]})))
    counts = {
        "running": sum(r.running for r in records) if live else 0,
        "failed": sum(r.failure is not None for r in records),
    }
    notes = [f"{len(finished)} of {len(records)}"] if len(finished) < len(records) else []
    notes += [f"{count} {word}" for word, count in counts.items() if count]
    return " ".join([*parts, *([f"({', '.join(notes)})"] if notes else [])])


def format_accuracy(trials: Sequence[Trial]) -> str:
    """Format the mean test accuracy in percent and, for two trials and more, its standard deviation."""
    accuracies = [float(trial.result["test_accuracy"]) for trial in trials]
    stddev = f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    return f"{statistics.mean(accuracies):.2f}{stddev}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table, padded so that it also reads as plain text."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    ruled = [lines[0], ["-" * max(width, 3) for width in widths], *lines[1:]]
    return "\n".join("| " + " | ".join(c.ljust(max(w, 3)) for c, w in zip(li, widths, strict=True)) + " |" for li in ruled)


def make_caption(status: SweepStatus, dataset: str) -> str:
    """Describe the numbers of the table."""
    training, num_seeds = status.training, len(status.grid.seeds)
    seeds = f"mean ± standard deviation over {num_seeds} seeds" if num_seeds > 1 else "one seed"
    chosen = "; after 'at': the KD weights that auto chose" if AUTO in status.grid.kd_weights else ""
    note = " Weights are removed before training, one by one: that saves weights, not time."
    return (
        f"Test accuracy in percent on {dataset}, {seeds}{chosen}. Student: {training.model}, "
        f"{plural(training.epochs, 'epoch')}, budget: {training.budget}.{note if any(status.grid.prunings) else ''}"
    )


def make_csv(status: SweepStatus) -> str:
    """List every trial that ended: its settings, its result, and its run folder relative to the sweep's."""
    varied = any(status.grid.prunings) or any(status.grid.self_distillations)
    columns = [column for column in COLUMNS if varied or column not in VARIANT_COLUMNS]
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for record in status.records():
        if record.trial is not None or record.failure is not None:
            writer.writerow(_csv_row(record, status.grid))
    return file.getvalue()


def _csv_row(record: StudentRecord, grid: Grid) -> dict[str, Any]:
    spec, trial = record.spec, record.trial
    row: dict[str, Any] = {
        "fraction": spec.fraction, "kept": grid.kept(spec.fraction), "scorer": spec.scorer, "kd_weight": spec.kd_weight,
        "teacher": spec.teacher, "seed": spec.seed,
        "sparsity": spec.pruning.sparsity if spec.pruning else None,
        "criterion": spec.pruning.criterion if spec.pruning else None,
        "self_distill": spec.self_distillation.method if spec.self_distillation else None,
    }  # fmt: skip
    if trial is not None:
        result = {key: trial.result.get(key) for key in ("test_accuracy", "samples_seen", "folder")}
        kd_weight = trial.result.get("kd_weight")
        return {**row, "status": "done", "kd_weight_used": kd_weight, "seconds": trial.seconds, **result}
    return {**row, "status": "failed", "error": record.failure.error if record.failure is not None else None}
