"""The table of a sweep: a line for fraction x scorer x teacher, a column for each KD weight, mean and spread over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from typing import Any

from datapruning.experiments.sweep.grid import AUTO, weight_text
from datapruning.experiments.sweep.status import Board, name_of
from datapruning.experiments.sweep.variants import share_text
from datapruning.io.trial_store import Config, Row

COLUMNS = (
    "fraction", "kept", "scorer", "kd_weight", "teacher", "seed", "status", "test_accuracy", "kd_weight_used",
    "samples_seen", "seconds", "folder", "error",
)  # fmt: skip
VARIED = ("sparsity", "criterion", "self_distill")
"""Columns of rows.csv, before the seed, where the grid varies them."""


def table(board: Board, live: bool = False) -> list[list[str]]:
    """Head and lines. `live`: cells also say what is running."""
    grid = board.grid
    several = len(grid.teachers) > 1
    pruned, itself = (any(each is not None for each in v) for v in (grid.variants.epsd, grid.variants.self_distill))
    more = (("teacher", several), ("weights removed", pruned), ("self-distillation", itself))
    lines = [["fraction", "kept", "scorer", *(head for head, shown in more if shown), *map(_head, grid.kd_weights)]]
    of_line: dict[tuple[Any, ...], list[Config]] = {}
    for config in board.configs:
        key = config["fraction"], config["scorer"], config["teacher"] if several else None, *_variant(config)
        of_line.setdefault(key, []).append(config)
    for (fraction, scorer, teacher, removed, by, method), mine in of_line.items():
        weights = f"{share_text(removed)} by {by}" if removed else "none"
        said = (grid.teachers.get(teacher, "none"), weights, method or "none")
        names = [text for text, (_, shown) in zip(said, more, strict=True) if shown]
        cells = [_cell(board, [c for c in mine if c["kd_weight"] == w], live, w == AUTO) for w in grid.kd_weights]
        lines.append([fraction, f"{grid.kept(fraction):,}", scorer or "(all)", *names, *cells])
    return lines


def _variant(config: Config) -> tuple[float | None, str | None, str | None]:
    """(share of the weights removed, by what, method of self-distillation), as far as the row says it."""
    pruned, itself = config.get("sparsity") or {}, config.get("self_distill") or {}
    return pruned.get("sparsity"), pruned.get("criterion"), itself.get("method")


def _head(weight: float | str) -> str:
    return "no KD" if weight == 0 else f"KD weight {weight_text(weight)}"


def _cell(board: Board, configs: Sequence[Config], live: bool, searched: bool) -> str:
    """Accuracy, and of how many rows it is where some are missing: 90.20 ± 0.16 (2 of 3, 1 running)."""
    if not configs:
        return ""
    names = [name_of(c) for c in configs]
    done = [board.done[n] for n in names if n in board.done]
    notes = [] if len(done) == len(names) else [f"{len(done)} of {len(names)}"]
    for word, those in (("running", board.running if live else ()), ("failed", board.failed)):
        count = sum(n in those for n in names)
        notes += [f"{count} {word}"] if count else []
    parts = [accuracy_text(done)] if done else []
    if searched and done:
        chosen = sorted({float(row.result["kd_weight"]) for row in done})
        parts.append("at " + "-".join(f"{w:.2g}" for w in sorted({chosen[0], chosen[-1]})))
    return " ".join(parts + ([f"({', '.join(notes)})"] if notes else []))


def accuracy_text(rows: Sequence[Row]) -> str:
    """Mean test accuracy in percent and, for two rows and more, their standard deviation."""
    values = [float(row.result["test_accuracy"]) for row in rows]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it also reads as plain text."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    ruled = [lines[0], ["-" * max(width, 3) for width in widths], *lines[1:]]
    return "\n".join("| " + " | ".join(c.ljust(max(w, 3)) for c, w in zip(li, widths, strict=True)) + " |" for li in ruled)


def caption(board: Board, dataset: str) -> str:
    """What the numbers of the table are."""
    training, seeds = board.training, len(board.grid.seeds)
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    chosen = "; after 'at': the KD weights that auto chose" if AUTO in board.grid.kd_weights else ""
    pruned = any(board.grid.variants.epsd)
    zeros = " Weights are removed before training, one by one: that saves weights, not time." if pruned else ""
    return (
        f"Test accuracy in percent on {dataset}, {spread}{chosen}. Student: {training.model}, {training.epochs} epochs, "
        f"budget: {training.budget}.{zeros}"
    )


def csv_text(board: Board) -> str:
    """Every row that ended: its settings, what came out, and where its run folder lies (relative to the sweep's)."""
    file = io.StringIO()
    varied = VARIED if any(board.grid.variants.each()) else ()
    before = COLUMNS.index("seed")
    writer = csv.DictWriter(file, (*COLUMNS[:before], *varied, *COLUMNS[before:]), lineterminator="\n")
    writer.writeheader()
    for config in board.configs:
        line: dict[str, Any] = {key: value for key, value in config.items() if key not in VARIED}
        line["kept"] = board.grid.kept(config["fraction"])
        if varied:
            line |= dict(zip(VARIED, _variant(config), strict=True))
        if row := board.done.get(name_of(config)):
            found = {key: row.result.get(key) for key in ("test_accuracy", "samples_seen", "folder")}
            line |= {"status": "done", "kd_weight_used": row.result.get("kd_weight"), "seconds": row.seconds, **found}
        elif failure := board.failed.get(name_of(config)):
            line |= {"status": "failed", "error": failure.error}
        else:
            continue
        writer.writerow(line)
    return file.getvalue()
