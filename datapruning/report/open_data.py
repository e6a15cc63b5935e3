"""Opening the dataset that the runs were trained on, if it is there."""

from collections.abc import Sequence
from pathlib import Path

from datapruning.data.dataset import Dataset
from datapruning.data.registry import WORKSPACE, open_dataset
from datapruning.errors import IncompatibleInputs, UserError, first_line
from datapruning.report.run_records import RunRecord


def open_data(
    runs: Sequence[RunRecord], name: str | None, data_root: Path | None, workspaces: Sequence[Path]
) -> tuple[Dataset | None, str]:
    """The dataset, or None and the reason why it cannot be opened.

    Args:
        runs: Runs on one dataset.
        name: The dataset as the user named it; None: as recorded by the runs.
        data_root: Folder of the torchvision datasets.
        workspaces: Workspaces of the runs; images that one of them has decoded are not decoded again.

    Raises:
        UserError: A dataset that the user named cannot be opened, or is not that of the runs.
    """
    result = runs[0].result
    environments = [run.config.get("environment", {}) for run in runs]
    recorded = next((str(tables["data"]) for tables in environments if "data" in tables), result.dataset)
    source = name or recorded
    try:
        workspace = next((root for root in workspaces if (root / "cache").is_dir()), WORKSPACE)
        data = open_dataset(source, root=data_root, workspace=workspace)
        if data.fingerprint != result.fingerprint:
            raise IncompatibleInputs(
                f"{source} is not the dataset of these runs ({result.dataset}): its fingerprint differs"
            )
    except UserError as error:
        if name is not None:
            raise
        return None, f"{first_line(error)}; name the dataset, or the folder of the torchvision datasets"
    return data, ""
