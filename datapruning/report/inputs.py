"""What the sections read: the runs in comparisons, and everything that was found about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datapruning.data.dataset import Dataset
from datapruning.report.comparison import Comparison, by_family
from datapruning.report.find_runs import RunCollection
from datapruning.report.label_issue_files import LabelIssuesFile
from datapruning.report.run_records import RunRecord
from datapruning.report.score_files import ScoresFile


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report is made from.

    Attributes:
        collection: The runs, and what was left out.
        comparisons: The runs by what compares.
        scores: Scores files of the dataset.
        label_issues: Lists of label issues of the dataset.
        data: The dataset, or None.
        data_error: Why there is no dataset.
        base: Paths are shown relative to this folder where they lie in it.
    """

    collection: RunCollection
    comparisons: Sequence[Comparison]
    scores: Sequence[ScoresFile]
    label_issues: Sequence[LabelIssuesFile]
    data: Dataset | None
    data_error: str
    base: Path

    @property
    def all_runs(self) -> list[RunRecord]:
        """All runs, in the order in which they were found."""
        return self.collection.runs

    @cached_property
    def families(self) -> list[list[Comparison]]:
        """Comparisons that differ only in pruned weights and self-distillation, together."""
        return list(by_family(self.comparisons).values())

    @cached_property
    def numbers(self) -> dict[Path, int]:
        """The number of each run folder in the appendix: from 1, in the order of the summary."""
        runs = [run for comparison in self.comparisons for group in comparison.groups for run in group.runs]
        return {run.folder: number for number, run in enumerate(runs, 1)}

    def display_path(self, path: Path) -> str:
        """A path as the report prints it."""
        absolute = path.resolve()
        return str(absolute.relative_to(self.base)) if absolute.is_relative_to(self.base) else str(absolute)
