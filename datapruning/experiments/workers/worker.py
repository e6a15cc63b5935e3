"""A worker: a process that runs trials of a store until none is left, and opens data, scores and soft labels only once.

It is the same command wherever it runs: `pool.worker_command`. It ends with the process that started it, and reports
through files in the folder of the store: a heartbeat and a log.
"""

import os
import platform
import signal
import threading
import time
import traceback
from pathlib import Path

from pydantic import Field

from datapruning.errors import DataPruningError, InvalidFile
from datapruning.experiments.workers.task import open_task
from datapruning.io.json import read_json, write_json
from datapruning.io.trial_store import FailedTrial
from datapruning.utils.console import info
from datapruning.utils.malloc import keep_freed_memory
from datapruning.utils.records import Record, parse_record

ORPHANED = 3
"""Exit code of a worker whose parent process has ended."""
PARENT_POLL_SECONDS = 1.0
Process = tuple[str, int]
"""Host name and process id."""


class Heartbeat(Record):
    """A worker's record when it starts (process, machine, Unix time) and, with its exit code, when it ends.

    The exit code of one that was killed stays None.
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


def main(parent: int, task: str, name: str) -> int:
    """Run the worker `name` on the task file `task`, as long as the process `parent` lives. Returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    keep_freed_memory()
    folder = Path(task).parent.parent
    log = log_path(folder, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    heartbeat = Heartbeat()
    write_json(heartbeat_path(folder, name), heartbeat.to_json())
    exit_code = _run_trials(Path(task))
    write_json(heartbeat_path(folder, name), {**heartbeat.to_json(), "exit_code": exit_code})
    return exit_code


def _run_trials(task_path: Path) -> int:
    """Run the trials that no other worker runs; returns 0 if none is left, 1 after an error that is not a trial's."""
    try:
        task, store, run_trial = open_task(task_path)
        for outcome in store.run_remaining(task.trials, run_trial):
            if isinstance(outcome, FailedTrial):
                info(f"failed: {dict(outcome.config)}: {outcome.error}\n{outcome.traceback or ''}")
    except DataPruningError as error:
        info(f"dprune: {error}")
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def exit_with_parent(parent: int) -> None:
    """End this process when its parent process, of the id `parent`, has ended; runs in a thread of its own."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(ORPHANED)
