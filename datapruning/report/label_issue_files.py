"""Lists of label issues of the dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.artifacts.label_issues import LabelIssues, load_label_issues
from datapruning.report.discover import find_dataset_files
from datapruning.report.groups import pivot

MAX_DISCOVERED_LISTS = 4
"""Lists from workspaces that are shown."""


@dataclass(frozen=True)
class LabelIssuesFile:
    """A list of label issues and its path."""

    path: Path
    issues: LabelIssues


def find_label_issue_files(
    named: Sequence[Path], workspaces: Sequence[Path], fingerprint: str
) -> tuple[list[LabelIssuesFile], Sequence[tuple[str, str]]]:
    """Lists that the user named, and in the folders `label-issues` of workspaces the longest list of each other scorer.

    Returns:
        The lists, at most `MAX_DISCOVERED_LISTS` beside the named ones, and (path, reason) of those in the workspaces that
        cannot be read.

    Raises:
        InvalidFile, IncompatibleInputs: A named file is no list of label issues, or one of another dataset.
    """
    files = find_dataset_files(named, workspaces, "label-issues/*.csv", load_label_issues, fingerprint)
    shown = {issues.scorer for _, issues in files.named}
    by_scorer = pivot((file for file in files.discovered if file[1].scorer not in shown), lambda file: file[1].scorer)
    longest = [max(by_scorer[scorer], key=lambda file: len(file[1])) for scorer in sorted(by_scorer)]
    chosen = [*files.named, *longest[:MAX_DISCOVERED_LISTS]]
    return [LabelIssuesFile(path, issues) for path, issues in chosen], files.unreadable
