"""A worker: fills rows of a store until none is left, and opens data, scores and soft labels once for all of them.

It is started in one of two ways. In a crew of this machine it reads its task, one line of JSON, from stdin, and ends when
stdin does. As a job it is given a task file and a name: it says who it is in `workers/` of the store's folder, writes to a
log of that name, and ends with the process that started it.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import torch

from datapruning.errors import DataPruningError
from datapruning.experiments.workers.task import Task, open_task
from datapruning.io.json import read_json, write_json
from datapruning.io.trial_store import Failure
from datapruning.utils.console import say
from datapruning.utils.malloc import keep_freed_memory

ORPHANED = 3
LOGS, WORKERS = "logs", "workers"
PARENT_SECONDS = 1.0


def work(task: Task) -> None:
    """Fill rows until none is left."""
    os.chdir(task.place)
    store, do = open_task(task)
    for outcome in store.fill(task.configs, do):
        if isinstance(outcome, Failure):
            say(f"failed: {dict(outcome.config)}: {outcome.error}\n{outcome.traceback or ''}")


def main() -> int:
    """Exit code 0: no row is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which then ends it
    keep_freed_memory()
    if len(sys.argv) > 2:
        return job(Path(sys.argv[2]), sys.argv[3])
    _warm_up()
    line = _first_line()
    if not line:
        return ORPHANED
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    return _done(Task(**json.loads(line)))


def job(path: Path, name: str) -> int:
    """Do the task in a file; `name` is that of the log, and of the file that says who works here and how it ended."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    task = Task(**read_json(path))
    folder = Path(task.place, task.folder)
    log = folder / LOGS / f"{name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    who = {"pid": os.getpid(), "host": platform.node(), "since": time.time()}
    place = folder / WORKERS / f"{name}.json"
    write_json(place, who)
    try:
        code = _done(task)
    except Exception:
        traceback.print_exc()
        code = 1
    write_json(place, {**who, "exit": code})
    return code


def _done(task: Task) -> int:
    try:
        work(task)
    except DataPruningError as error:
        say(f"dprune: {error}")
        return 1
    return 0


def _warm_up() -> None:
    """One step of nothing: torch's first one imports for seconds, which can be done while the parent still prepares."""
    nothing = torch.nn.Parameter(torch.zeros(1))
    nothing.grad = torch.zeros(1)
    torch.optim.SGD([nothing], 0.0).step()


def _first_line() -> bytes:
    """Unbuffered, so that nothing lies between stdin and `_end_with_stdin`."""
    parts = []
    while (part := os.read(0, 65536)) and not part.endswith(b"\n"):
        parts.append(part)
    return b"".join([*parts, part]) if part else b""


def _end_with_stdin() -> None:
    while os.read(0, 65536):
        pass
    os._exit(ORPHANED)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
