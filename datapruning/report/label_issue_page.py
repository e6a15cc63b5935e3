"""One page that shows a whole list of likely wrong labels; needs no run."""

from __future__ import annotations

from pathlib import Path

from datapruning.artifacts.label_issues import LabelIssues
from datapruning.artifacts.metadata import check_made_from
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, OutputExists
from datapruning.io.atomic import write_text
from datapruning.report.html import Section, join, paragraph
from datapruning.report.page import is_ours, whole_page
from datapruning.report.sections.label_issues import pictures, words


def check_page(path: Path) -> None:
    """Refuse a place where no page may be written.

    Raises:
        InvalidValue: it is no .html. OutputExists: something else than a page of ours is there.
    """
    if path.suffix not in (".html", ".htm"):
        raise InvalidValue(f"--pictures {path} is a page; name a file that ends in .html")
    if path.is_dir() or (path.exists() and not is_ours(path)):
        raise OutputExists(f"{path} exists and is no page of datapruning; name another --pictures")


def write_page(label_issues: LabelIssues, data: Dataset, path: Path) -> Path:
    """Write a self-contained HTML page of all of `label_issues`; an older page there is replaced.

    Raises:
        IncompatibleInputs: a list of another dataset. InvalidValue, OutputExists: see `check_page`.
    """
    check_page(path)
    check_made_from("this list of label issues", label_issues.meta, data)
    lead = [
        paragraph(
            f"{len(label_issues):,} of {data.total:,} training samples, ranked by {label_issues.order}.",
            class_="lead",
        ),
        paragraph(*words(), class_="note"),
    ]
    body = join(pictures(label_issues, data, len(label_issues)))
    write_text(path, whole_page(f"{data.name}: likely wrong labels", lead, [Section("label-issues", "Pictures", body)]))
    return path
