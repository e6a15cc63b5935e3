"""What a tool has to do to show a run, and which tools there are."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datapruning.errors import MissingPackage, first_line

TOOLS = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""Name of a tool -> the module without which it cannot be had. The extra is called like the tool."""


@dataclass(frozen=True)
class RunInfo:
    """The run that is shown.

    Attributes:
        folder: of the run; logs that belong to it alone lie inside.
        root: the workspace; logs that all its runs share lie inside.
        settings: the tables of config.toml.
        text: config.toml itself.
    """

    folder: Path
    root: Path
    settings: Mapping[str, Mapping[str, Any]]
    text: str

    @property
    def name(self) -> str:
        """What people see of the run."""
        return self.folder.name

    @property
    def flat(self) -> dict[str, Any]:
        """The settings as "table.key"."""
        return {f"{table}.{key}": value for table, values in self.settings.items() for key, value in values.items()}


@dataclass(frozen=True)
class LogHandle:
    """An open log.

    Attributes:
        name: by which another process opens it again.
        where: it is to be looked at, for people.
        rows: epochs that it holds: fewer than it was given, where a tool lost some when a process was killed.
    """

    name: str
    where: str
    rows: int


class Tracker(Protocol):
    """One tool. Whatever its methods raise ends the log in this process and nothing else."""

    def start(self, story: RunInfo, log: str | None, rows: int) -> LogHandle:
        """Open the log: a new one, or the one that another process began.

        Args:
            story: what is shown; a new log gets its settings.
            log: what `begin` named it; None: there is none yet.
            rows: epochs that it was given.
        """

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """After an epoch."""

    def log_result(self, epochs: int, numbers: Mapping[str, float]) -> None:
        """After the last epoch, once."""

    def finish(self, finished: bool) -> None:
        """Close the log; without `finished`, another process goes on with it."""


def import_tool(tool: str) -> Any:
    """The module of a tool.

    Raises:
        MissingPackage: it is not installed, or broken.
    """
    try:
        return importlib.import_module(TOOLS[tool])
    except ImportError as error:
        raise MissingPackage(
            f"--log {tool} needs another package ({first_line(error)}): pip install 'datapruning-toolkit[{tool}]'"
        ) from None
