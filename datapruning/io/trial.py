"""The files of a trial store as records: a trial that is finished, failed or running, and what the store is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from datapruning.errors import InvalidFile
from datapruning.io.json import read_json
from datapruning.utils.hashing import config_hash
from datapruning.utils.records import Record, parse_record

TrialConfig = Mapping[str, Any]
"""Plain data that defines a trial."""


class StoreManifest(Record):
    """The content of `store.json`; `about` is plain data that all trials of the store share."""

    format: Literal["datapruning.store"] = "datapruning.store"
    version: Literal[1] = 1
    about: dict[str, Any]


class Trial(Record):
    """A finished trial: its configuration, its result (plain data) and the seconds it took."""

    config: TrialConfig
    result: Mapping[str, Any]
    seconds: float


class FailedTrial(Record):
    """A trial that failed: why, in one line, and the traceback unless the error is one that this package raises."""

    config: TrialConfig
    error: str
    traceback: str | None = None


class RunningTrial(Record):
    """Who began a trial that is not finished: the process `pid` on the machine `host`, at the Unix time `since` in seconds.

    `alive`, whether the process still holds the trial's lock, is not part of the file.
    """

    config: TrialConfig
    pid: int
    host: str
    since: float
    alive: bool = Field(default=True, exclude=True)


R = TypeVar("R", Trial, FailedTrial, RunningTrial)


def read_trial_file(path: Path, kind: type[R]) -> R:
    """Read a trial that is finished, failed or running.

    Raises:
        InvalidFile: the file is missing or broken, or holds another trial.
    """
    trial = parse_record(kind, read_json(path), f"{path} (delete it to run the trial again)")
    if config_hash(trial.config, 16) != path.stem:
        raise InvalidFile(f"{path} holds another trial than its name says; delete it to run this one again")
    return trial
