"""Images of samples whose label is likely wrong, with their label and the one that the networks suggest."""

from datapruning.artifacts.label_issues import LabelIssues
from datapruning.data.dataset import Dataset
from datapruning.report.format import MINUS
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.sections.gallery import Picture, make_picture

MAX_PICTURES = 18
"""Images of a list in the report."""


def section(inputs: ReportInputs) -> Section | None:
    """The first of every list; None where there is none."""
    if not inputs.label_issues:
        return None
    data = inputs.data
    lists = [(f, issue_pictures(f.issues, data, MAX_PICTURES)) for f in inputs.label_issues] if data else []
    return Section("label-issues", "Likely wrong labels", render("label_issues.html", inputs=inputs, lists=lists))


def issue_pictures(issues: LabelIssues, data: Dataset, limit: int) -> list[Picture]:
    """The first images of a list, at most `limit`."""
    pictures = []
    for issue in issues.rows[:limit]:
        claim = f"rather {issue.suggested_name}" if issue.suggested is not None else ""
        probability = [] if issue.label_prob is None else [f"label {100 * issue.label_prob:.0f}%"]
        path = [] if data.train_paths is None else [data.train_paths[issue.id]]
        notes = [*probability, f"score {issue.score:.3g}".replace("-", MINUS), f"id {issue.id}", *path]
        pictures.append(make_picture(issue.id, data, claim, bool(claim), notes))
    return pictures
