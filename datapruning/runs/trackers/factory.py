"""Which experiment tracker a name stands for."""

from collections.abc import Sequence

from datapruning.errors import UnknownName
from datapruning.runs.trackers.base import TOOLS, Tracker, import_tool


def find_tools(names: Sequence[str]) -> tuple[str, ...]:
    """The names of tools, each once, checked to be usable.

    Args:
        names: of tools; one text may hold several, separated by commas.

    Raises:
        UnknownName: an unknown tool. MissingPackage: its package is not installed.
    """
    texts = [names] if isinstance(names, str) else names
    tools = tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    for tool in tools:
        if tool not in TOOLS:
            raise UnknownName("log", tool, TOOLS)
        import_tool(tool)
    return tools


def make_tracker(tool: str) -> Tracker:
    """A new tracker of a tool."""
    if tool == "tensorboard":
        from datapruning.runs.trackers.tensorboard import TensorBoardTracker

        return TensorBoardTracker()
    if tool == "wandb":
        from datapruning.runs.trackers.wandb import WandbTracker

        return WandbTracker()
    from datapruning.runs.trackers.mlflow import MLflowTracker

    return MLflowTracker()
