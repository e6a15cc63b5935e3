"""One page that shows all of a list of label issues; needs no run."""

from pathlib import Path

from datapruning.artifacts.label_issues import LabelIssues
from datapruning.artifacts.metadata import check_same_dataset
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, OutputExists
from datapruning.io.atomic import write_text
from datapruning.report.page import is_our_page
from datapruning.report.render import Section, render, render_page
from datapruning.report.sections.label_issues import issue_pictures


def check_page(path: Path) -> None:
    """Refuse a path where no page may be written.

    Raises:
        InvalidValue: It does not end in .html.
        OutputExists: Something else than a page of this package is there.
    """
    if path.suffix not in (".html", ".htm"):
        raise InvalidValue(f"{path} is to be a page; name a file that ends in .html", parameter="gallery")
    if path.is_dir() or (path.exists() and not is_our_page(path)):
        raise OutputExists(f"{path} exists and is no page of datapruning; name another file", parameter="gallery")


def write_page(issues: LabelIssues, data: Dataset, path: Path) -> Path:
    """Write a self-contained HTML page of all label issues of a list; an older page there is replaced.

    Raises:
        IncompatibleInputs: The list is of another dataset.
        InvalidValue, OutputExists: See `check_page`.
    """
    check_page(path)
    check_same_dataset("this list of label issues", issues.meta, data)
    lead = render("label_issue_lead.html", issues=issues, total=data.total)
    pictures = issue_pictures(issues, data, len(issues))
    section = Section("label-issues", "Images", render("label_issue_list.html", issues=issues, pictures=pictures))
    write_text(path, render_page(f"{data.name}: likely wrong labels", lead, [section]))
    return path
