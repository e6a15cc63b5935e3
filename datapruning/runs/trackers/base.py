"""What an experiment tracker does."""

import importlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from datapruning.errors import MissingPackage, first_line


@dataclass(frozen=True)
class RunInfo:
    """The run that is shown: its folder, for logs of this run alone, and the text of its config.toml.

    `workspace` is the folder of logs that all runs share.
    """

    folder: Path
    workspace: Path
    config: str

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @cached_property
    def settings(self) -> Mapping[str, Mapping[str, object]]:
        """The tables of config.toml."""
        return tomllib.loads(self.config)

    @property
    def parameters(self) -> dict[str, object]:
        """The settings by "table.key"."""
        return {f"{table}.{key}": value for table, values in self.settings.items() for key, value in values.items()}


@dataclass(frozen=True)
class LogHandle:
    """An open log: the name by which another process opens it again, and the location where people find it.

    `num_epochs` that it holds: fewer than it was given, where a tool lost some when a process was killed.
    """

    name: str
    location: str
    num_epochs: int


class Tracker(Protocol):
    """One tool. Whatever its methods raise ends the log in this process and nothing else."""

    def start(self, run: RunInfo, log: str | None, num_epochs: int) -> LogHandle:
        """Open the log that `start` named `log` in another process, of `num_epochs` epochs; None: a new one."""

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of an epoch, counted from 0."""

    def log_result(self, epochs: int, numbers: Mapping[str, float]) -> None:
        """Log the result, once, after `epochs` epochs; unless a tool has a place of its own for it, at the last epoch."""
        self.log_epoch(epochs - 1, {f"result/{name}": value for name, value in numbers.items()})

    def finish(self, finished: bool) -> None:
        """Close the log; unless `finished`, another process resumes it."""


def import_tool(tool: str) -> Any:
    """The module of a tool, which has its name; so has the extra of this package.

    Raises:
        MissingPackage: it is not installed, or broken.
    """
    try:
        return importlib.import_module(tool)
    except ImportError as error:
        raise MissingPackage(
            f"{tool} is not installed ({first_line(error)}): pip install 'datapruning-toolkit[{tool}]'", parameter="log"
        ) from None
