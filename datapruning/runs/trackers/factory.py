"""Which experiment tracker a name stands for."""

from __future__ import annotations

from collections.abc import Sequence

from datapruning.errors import UnknownName
from datapruning.runs.trackers.base import TOOLS, Tracker, import_tool


def find_tools(names: Sequence[str]) -> tuple[str, ...]:
    """Names of tools, each once, checked to be usable here.

    Args:
        names: of tools; one text may hold several, with commas between.

    Raises:
        UnknownName: no such tool. MissingPackage: it is not installed.
    """
    said = [names] if isinstance(names, str) else names
    found = tuple(dict.fromkeys(part.strip() for name in said for part in name.split(",") if part.strip()))
    for name in found:
        if name not in TOOLS:
            raise UnknownName("log", name, TOOLS)
        import_tool(name)
    return found


def make_tracker(tool: str) -> Tracker:
    """A fresh tracker of a tool."""
    if tool == "tensorboard":
        from datapruning.runs.trackers.tensorboard import TensorBoardTracker

        return TensorBoardTracker()
    if tool == "wandb":
        from datapruning.runs.trackers.wandb import WandbTracker

        return WandbTracker()
    from datapruning.runs.trackers.mlflow import MLflowTracker

    return MLflowTracker()
