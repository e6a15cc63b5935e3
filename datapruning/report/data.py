"""The dataset that the runs were trained on, if it is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datapruning.data.dataset import Dataset
from datapruning.data.registry import WORKSPACE, open_dataset
from datapruning.errors import IncompatibleInputs, UserError, first_line
from datapruning.report.student import Student


def open_data(
    students: list[Student], name: str | None, root: Path | None, roots: Sequence[Path]
) -> tuple[Dataset | None, str]:
    """The dataset, or None and why there is none.

    Args:
        students: runs on one dataset.
        name: what the user calls it; default: as recorded by the runs.
        root: folder of the torchvision sets.
        roots: workspaces of the runs; pictures that one of them has decoded are not decoded again.

    Raises:
        UserError: a dataset that was named cannot be opened, or is another one than that of the runs.
    """
    first = students[0]
    recorded = [str(s.config["environment"]["data"]) for s in students if "data" in s.config.get("environment", {})]
    called = name or (recorded or [str(first.result["dataset"])])[0]
    try:
        workspace = next((place for place in roots if (place / "cache").is_dir()), WORKSPACE)
        data = open_dataset(called, root=root, workspace=workspace)
        if data.fingerprint != first.result["fingerprint"]:
            raise IncompatibleInputs(
                f"{called} is not the dataset of these runs ({first.result['dataset']}): its fingerprint differs"
            )
    except UserError as error:
        if name is not None:
            raise
        return None, f"{first_line(error)}; name it with --data or --data-root"
    return data, ""
