"""Where every number comes from: each run's folder and the command that repeats it; what was left out; what failed."""

from __future__ import annotations

import json
import shlex

from datapruning.report.comparison import Inputs
from datapruning.report.figures import percent
from datapruning.report.format import plural
from datapruning.report.html import Markup, Section, folded, join, paragraph, table, tag
from datapruning.report.student import AUTO, Student
from datapruning.runs.run import CONFIG


def section(inputs: Inputs) -> Section:
    """The runs, the scores files, what is not in the report."""
    parts = [
        paragraph(
            f"Paths are relative to {inputs.base} unless they begin with a slash. A command repeats its run, unless it "
            "finds the same one finished in the workspace; --out NEW-FOLDER names another place.",
            class_="note",
        ),
        _runs(inputs),
    ]
    if inputs.scores:
        rows = [
            (f.name, _code(inputs.shown(f.path)), f.scores.meta.get("seed"), f.scores.meta.get("created"))
            for f in inputs.scores
        ]
        parts += [tag("h3", "Scores files"), table(("scores", "file", "seed", "made"), rows, label="Scores files")]
    return Section("runs", "Every run and its command", join(parts))


def _runs(inputs: Inputs) -> Markup:
    setups = {s.folder: setup.name for setup in inputs.setups for s in setup.students}
    several = len(inputs.setups) > 1
    head = ("run", *(("set-up",) if several else ()), "kept", "scorer", "KD", "seed", "accuracy", "folder", "command")
    rows = []
    for student in inputs.ordered:
        number = inputs.numbers[student.folder]
        cells: list[object] = [tag("span", number, id=f"run-{number}")]
        cells += [setups[student.folder]] if several else []
        cells += [
            percent(student.fraction), student.scorer, _weight(student), student.seed, f"{student.accuracy:.2f}",
            _code(inputs.shown(student.folder)), _command(student, inputs),
        ]  # fmt: skip
        rows.append(cells)
    return table(head, rows, numbers=(0,), label="Runs")


def _weight(student: Student) -> str:
    found = f"{student.kd}: {student.weight:g}" if student.kd == AUTO else student.kd
    return f"{found}, teacher {student.teachers[0].get('model')}" if student.candidates else found


def _command(student: Student, inputs: Inputs) -> Markup:
    path = student.folder / CONFIG
    if not path.exists():
        return tag("span", "its folder is not there any more", class_="muted")
    return _code(f"dprune train --recipe {shlex.quote(inputs.shown(path))}")


def _code(text: str) -> Markup:
    return tag("code", text)


def left_out(inputs: Inputs) -> Section | None:
    """What lies there and is not in the report; None if there is nothing."""
    found, parts = inputs.found, list[Markup]()
    if found.failures:
        rows = [(_code(json.dumps(config)), error) for config, error in found.failures]
        parts += [
            paragraph(f"{plural(len(rows), 'row')} of the sweep failed:", class_="warn"),
            table(("row", "error"), rows, label="Failures"),
        ]
    if found.left_out:
        rows = [(_code(where), why) for where, why in found.left_out]
        parts.append(folded(f"{plural(len(rows), 'place')} left out", table(("place", "why"), rows, label="Left out")))
    if found.repeated:
        again = plural(found.repeated, "run was", "runs were")
        parts.append(paragraph(f"{again} there a second time, with the same settings, subset and seed, and counted once."))
    return Section("left-out", "Not in this report", join(parts)) if parts else None
