"""The page: its header and its sections in order, as one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from datapruning.report.inputs import ReportInputs
from datapruning.report.render import GENERATOR, Section, render, render_page
from datapruning.report.sections import (
    accuracy,
    agreement,
    appendix,
    cost,
    gallery,
    histograms,
    kd_weight,
    label_issues,
    sparsity,
    summary,
)

SECTIONS = (
    summary.section, accuracy.section, sparsity.section, kd_weight.section, cost.section, agreement.section,
    histograms.section, gallery.section, label_issues.section, appendix.left_out_section, appendix.section,
)  # fmt: skip
MAX_LISTED_COMPARISONS = 6
"""Comparisons that the header lists; of more the list is folded."""


def make_sections(inputs: ReportInputs) -> list[Section]:
    """The sections that have something to show."""
    return [section for make_section in SECTIONS if (section := make_section(inputs)) is not None]


def make_page(inputs: ReportInputs, sections: Sequence[Section]) -> str:
    """The HTML of a report."""
    result = inputs.all_runs[0].result
    teachers = {t.weights: t for run in inputs.all_runs for t in run.teachers}
    names = sorted(f"{teacher.model} ({teacher.test_accuracy:.2f}%)" for teacher in teachers.values())
    lead = render("lead.html", inputs=inputs, result=result, teachers=names, max_listed=MAX_LISTED_COMPARISONS)
    return render_page(f"{result.dataset}: training on a fraction of the data", lead, sections)


def is_our_page(path: Path) -> bool:
    """Whether a file is a page that this package wrote, which another page may replace."""
    with path.open("rb") as file:
        return f'name="generator" content="{GENERATOR}"'.encode() in file.read(1000)
