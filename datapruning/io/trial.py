"""What became of a row of a store: finished, failed, or somebody is at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from datapruning.errors import InvalidFile
from datapruning.io.json import read_json
from datapruning.utils.hashing import config_hash

TrialConfig = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """A finished row: its configuration, its result and the seconds it took."""

    config: TrialConfig
    result: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class FailedTrial:
    """A row that failed: why, in one line, and the traceback where it was no mistake that this package names."""

    config: TrialConfig
    error: str
    traceback: str | None = None


@dataclass(frozen=True)
class RunningTrial:
    """Who began a row that is not finished: process, host, and when (Unix seconds). Not `alive`: that process died."""

    pid: int
    host: str
    since: float
    alive: bool


TYPES: Mapping[str, tuple[type, ...]] = {
    "config": (dict,), "result": (dict,), "seconds": (int, float), "error": (str,), "traceback": (str, type(None)),
}  # fmt: skip
Outcome = TypeVar("Outcome", Trial, FailedTrial)


def read_trial_file(path: Path, kind: type[Outcome]) -> Outcome:
    """The row or the failure that a file holds.

    Raises:
        InvalidFile: it holds something else, or that of another row.
    """
    value = read_json(path)
    fitting = set(value) == {f.name for f in fields(kind)} and config_hash(value["config"], 16) == path.stem
    if not fitting or any(type(value[name]) not in kinds for name, kinds in TYPES.items() if name in value):
        raise InvalidFile(f"{path} is not the row it should be; delete it to have it run again")
    return kind(**value)
