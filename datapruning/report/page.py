"""The page: sections in order, one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from datapruning.report.comparison import Inputs
from datapruning.report.css import CSS
from datapruning.report.format import plural
from datapruning.report.html import Markup, Section, bullets, folded, join, paragraph, tag
from datapruning.report.sections import accuracy, agreement, appendix, cost, histograms, label_issues, summary
from datapruning.report.sections import gallery as pictures
from datapruning.report.sections import kd_weight as weight
from datapruning.report.sections import sparsity as pruned
from datapruning.version import __version__

GENERATOR = "datapruning report"
"""Marks a file as a report, which another report may replace."""
MOST_SETUPS = 6
"""That are listed in the open."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def sections(inputs: Inputs) -> list[Section]:
    """All that have something to say."""
    made = (
        summary.section(inputs), accuracy.section(inputs), pruned.section(inputs), weight.section(inputs),
        cost.section(inputs),
        agreement.section(inputs), histograms.section(inputs), pictures.section(inputs), label_issues.section(inputs),
        appendix.left_out(inputs), appendix.section(inputs),
    )  # fmt: skip
    return [section for section in made if section is not None]


def page(inputs: Inputs, made: Sequence[Section]) -> str:
    """The whole HTML text."""
    first = inputs.students[0]
    title = f"{first.result['dataset']}: training on a fraction of the data"
    return whole_page(title, _lead(inputs), made)


def whole_page(title: str, lead: Sequence[Markup], made: Sequence[Section]) -> str:
    """A page of any sections: the HTML text."""
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(
            f'<meta name="generator" content="{GENERATOR}"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        ),
        tag("title", title),
        Markup(f"<style>{CSS}</style>"),
    )
    links = tag("ul", *(tag("li", tag("a", section.title, href=f"#{section.anchor}")) for section in made))
    nav = [tag("nav", links, aria_label="Sections")] if len(made) > 1 else []
    body = tag(
        "body",
        tag("header", tag("h1", title), *lead),
        *nav,
        tag("main", *(tag("section", tag("h2", s.title), s.body, id=s.anchor) for s in made)),
        tag("footer", f"Made by datapruning {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."),
    )
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def is_ours(path: Path) -> bool:
    """Whether a file is a page that this package wrote, which another page may replace."""
    with path.open("rb") as file:
        return f'name="generator" content="{GENERATOR}"'.encode() in file.read(1000)


def _lead(inputs: Inputs) -> list[Markup]:
    first = inputs.students[0]
    classes = first.result.get("classes")
    of = f" of {classes} classes" if classes else ""
    parts = [
        paragraph(
            f"{plural(len(inputs.students), 'student')} on {first.result['dataset']} "
            f"({first.total:,} training samples{of}). A fraction is the share of them that is kept. KD trains with the soft "
            "labels of a teacher that saw all of them.",
            class_="lead",
        )
    ]
    if len(inputs.setups) == 1:
        parts.append(paragraph(f"All with {inputs.setups[0].words}."))
    else:
        parts += _setups(inputs)
    teachers = {
        str(t.get("weights")): f"{t.get('model')} ({t.get('test_accuracy', 0):.2f}%)"
        for s in inputs.students
        for t in s.teachers
    }
    if teachers:
        word = "Teacher" if len(teachers) == 1 else "Teachers"
        parts.append(
            paragraph(join([f"{word}, with accuracy on the test set: ", ", ".join(sorted(teachers.values())), "."]))
        )
    return parts


def _setups(inputs: Inputs) -> list[Markup]:
    """Which there are, and in what they differ."""
    setups = inputs.setups
    also = " Those that differ only in pruning stand beside each other under “Pruned weights”."
    warning = paragraph(
        f"These runs do not all compare: they differ in {', '.join(setups[0].differing)}. Runs in one set-up share all "
        "settings but fraction, scorer, KD and seed; curves join only those, and each of the "
        f"{len(setups)} set-ups has panels of its own.{also if any(s.removed for s in setups) else ''}",
        class_="warn",
    )
    each = [f"Set-up {s.name} ({plural(len(s.students), 'run')}): {s.words}; {s.what_differs}" for s in setups]
    if len(each) <= MOST_SETUPS:
        return [warning, bullets(each)]
    shared = len(inputs.families) == 1
    if shared:
        each = [f"Set-up {s.name} ({plural(len(s.students), 'run')}): {s.what_differs}" for s in setups]
    together = [paragraph(f"All with {setups[0].shared_words}.")] if shared else []
    return [warning, *together, folded(f"The {len(each)} set-ups", bullets(each))]
