"""Files through which workers report to the command: a heartbeat and a log for each, in the folder of the store."""

import os
import platform
import time
from pathlib import Path

from pydantic import Field

from datapruning.errors import InvalidFile
from datapruning.io.json import read_json
from datapruning.utils.records import Record, parse_record

Process = tuple[str, int]
"""Host name and process id."""


class Heartbeat(Record):
    """What a worker says of itself: once when it starts, and once more, with its exit code, when it ends.

    Attributes:
        pid: process id.
        host: name of the machine.
        since: when it started, in Unix seconds.
        exit_code: None while it works, and for good if it was killed.
    """

    pid: int = Field(default_factory=os.getpid)
    host: str = Field(default_factory=platform.node)
    since: float = Field(default_factory=time.time)
    exit_code: int | None = None


def heartbeat_path(folder: Path, name: str) -> Path:
    """The file of a worker of the store in `folder`."""
    return folder / "workers" / f"{name}.json"


def read_heartbeat(folder: Path, name: str) -> Heartbeat | None:
    """The heartbeat of a worker; None if it has not started."""
    path = heartbeat_path(folder, name)
    try:
        return parse_record(Heartbeat, read_json(path), str(path))
    except InvalidFile:
        return None


def log_path(folder: Path, name: str) -> Path:
    """The file for everything that a worker prints."""
    return folder / "logs" / f"{name}.txt"
