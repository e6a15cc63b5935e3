"""What the sections read: the runs in comparisons, and everything that was found about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datapruning.artifacts.label_issues import LabelIssues
from datapruning.data.dataset import Dataset
from datapruning.data.registry import WORKSPACE, open_dataset
from datapruning.errors import IncompatibleInputs, UserError, first_line
from datapruning.report.comparison import Comparison, by_family, check_one_dataset
from datapruning.report.dataset_files import ScoresFile
from datapruning.report.find_runs import RunCollection
from datapruning.report.format import join_words


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report is made from.

    Attributes:
        collection: The runs, and what was left out.
        comparisons: The runs by what compares.
        scores: Scores files of the dataset.
        label_issues: Lists of label issues of the dataset, each with its path.
        data: The dataset, or None.
        data_error: Why there is no dataset.
        base: Paths are shown relative to this folder where they lie in it.
    """

    collection: RunCollection
    comparisons: Sequence[Comparison]
    scores: Sequence[ScoresFile]
    label_issues: Sequence[tuple[Path, LabelIssues]]
    data: Dataset | None
    data_error: str
    base: Path

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


def open_data(collection: RunCollection, name: str | None, data_root: Path | None) -> tuple[Dataset | None, str]:
    """The dataset, or None and the reason why it cannot be opened.

    Images that a workspace has decoded are not decoded again. Runs on another dataset than the named one are moved to what
    is left out of the collection.

    Args:
        collection: The runs.
        name: The dataset as the user named it; None: as recorded by the runs.
        data_root: Folder of the torchvision datasets.

    Raises:
        UserError: A dataset that the user named cannot be opened, or no run is on it; the runs are on several datasets, and
            none is named.
    """
    if name is None:
        check_one_dataset(collection.runs)
    runs, result = collection.runs, collection.runs[0].result
    environments = [run.config.get("environment", {}) for run in runs]
    source = name or next((str(tables["data"]) for tables in environments if "data" in tables), result.dataset)
    try:
        workspace = next((root for root in collection.roots if (root / "cache").is_dir()), WORKSPACE)
        data = open_dataset(source, root=data_root, workspace=workspace)
        _keep_runs_on(data, collection, source)
    except UserError as error:
        if name is not None:
            raise
        return None, f"{first_line(error)}; name the dataset, or the folder of the torchvision datasets"
    return data, ""


def _keep_runs_on(data: Dataset, collection: RunCollection, source: str) -> None:
    """Leave out the runs on other datasets."""
    others = [run for run in collection.runs if run.result.fingerprint != data.fingerprint]
    if len(others) == len(collection.runs):
        names = join_words(dict.fromkeys(run.result.dataset for run in others))
        raise IncompatibleInputs(f"{source} is not the dataset of these runs ({names}): its fingerprint differs")
    collection.runs = [run for run in collection.runs if run not in others]
    collection.left_out += [(str(run.folder), f"on another dataset, {run.result.dataset}") for run in others]
