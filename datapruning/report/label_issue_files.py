"""Lists of likely wrong labels near the runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.artifacts.label_issues import LabelIssues, load_label_issues
from datapruning.report.discover import of_dataset

MOST = 4
"""Lists that are shown, at most."""


@dataclass(frozen=True)
class LabelIssuesFile:
    """A list and where it lies."""

    path: Path
    label_issues: LabelIssues


def find_label_issue_files(
    named: Sequence[Path], roots: Sequence[Path], fingerprint: str
) -> tuple[list[LabelIssuesFile], list[tuple[str, str]]]:
    """Lists of the dataset: those that were named, and of those in a folder `label-issues` of `roots` the longest a scorer.

    Returns:
        the lists, at most `MOST` beside the named ones, and (path, why) of those in the folders that were left out.

    Raises:
        InvalidFile, IncompatibleInputs: one that was named is no list of label issues, or one of another dataset.
    """
    asked, lying, left_out = of_dataset(named, roots, "label-issues/*.csv", load_label_issues, fingerprint)
    found = [LabelIssuesFile(path, label_issues) for path, label_issues in asked]
    longest: dict[str, LabelIssuesFile] = {}
    for path, label_issues in lying:
        other = longest.get(label_issues.scorer)
        if other is None or len(label_issues) > len(other.label_issues):
            longest[label_issues.scorer] = LabelIssuesFile(path, label_issues)
    known = {file.label_issues.scorer for file in found}
    others = sorted((f for f in longest.values() if f.label_issues.scorer not in known), key=lambda f: f.label_issues.scorer)
    return found + others[:MOST], left_out
