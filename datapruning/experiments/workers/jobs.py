"""What workers on other machines are told, and what they tell: files in the folder of the store, no pickle."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile, InvalidValue
from datapruning.experiments.workers.local import BOOT
from datapruning.experiments.workers.task import Task
from datapruning.experiments.workers.worker import WORKERS
from datapruning.experiments.workers.workers import Process
from datapruning.io.json import read_json, write_json
from datapruning.utils.hashing import digest
from datapruning.utils.system import PROJECT_ROOT

TASKS = "tasks"


def write_task(folder: Path, task: Task) -> Path:
    """The task in a file of the store's folder, named by what it says."""
    value = asdict(task)
    path = folder.resolve() / TASKS / f"{digest(value)}.json"
    write_json(path, value)
    return path


def command_of(task: Path, name: str) -> list[str]:
    """The command of a worker, for every machine on which this interpreter, this package and that file have these paths."""
    return [sys.executable, "-P", "-c", BOOT, str(PROJECT_ROOT), str(task), name]


def heard_of(folder: Path, name: str) -> dict[str, Any] | None:
    """What a worker wrote of itself: pid, host, since and, at its end, exit. None: it has not begun."""
    try:
        return read_json(folder / WORKERS / f"{name}.json")
    except InvalidFile:
        return None


def process_of(folder: Path, name: str) -> Process | None:
    """Which process a worker is or was."""
    who = heard_of(folder, name)
    return None if who is None else (str(who["host"]), int(who["pid"]))


def forget(folder: Path, name: str) -> None:
    """A worker that ended."""
    (folder / WORKERS / f"{name}.json").unlink(missing_ok=True)


def number(settings: Mapping[str, str], key: str, default: float) -> float:
    """A setting that is a number, 0 or more.

    Raises:
        InvalidValue: it is none.
    """
    given = settings.get(key)
    if given is None:
        return default
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InvalidValue(f"--launcher-set {key}={given}: a number, 0 or more")
    return value


def whole(settings: Mapping[str, str], key: str, default: int) -> int:
    """A setting that is a whole number, 0 or more.

    Raises:
        InvalidValue: it is none.
    """
    value = number(settings, key, default)
    if value != int(value):
        raise InvalidValue(f"--launcher-set {key}={settings[key]}: a whole number")
    return int(value)
