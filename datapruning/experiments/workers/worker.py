"""A worker: a process that runs trials of a store until none is left, and opens data, scores and soft labels only once.

It is the same command wherever it runs: `pool.worker_command`. It ends with the process that started it.
"""

import os
import signal
import threading
import time
import traceback
from pathlib import Path

from datapruning.errors import DataPruningError
from datapruning.experiments.workers.heartbeat import Heartbeat, heartbeat_path, log_path
from datapruning.experiments.workers.task import open_task
from datapruning.io.json import write_json
from datapruning.io.trial_store import FailedTrial
from datapruning.utils.console import info
from datapruning.utils.malloc import keep_freed_memory

ORPHANED = 3
"""Exit code of a worker whose parent process has ended."""
PARENT_POLL_SECONDS = 1.0


def main(parent: int, task: str, name: str) -> int:
    """Run a worker.

    Args:
        parent: id of the process that started this one.
        task: path of the task file, in the folder `tasks` of the store's.
        name: name of the worker, and so of its heartbeat and its log.

    Returns:
        The exit code: 0 if no trial is left.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    keep_freed_memory()
    folder = Path(task).parent.parent
    log = log_path(folder, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    heartbeat = Heartbeat()
    write_json(heartbeat_path(folder, name), heartbeat.to_json())
    exit_code = run_trials(Path(task))
    write_json(heartbeat_path(folder, name), {**heartbeat.to_json(), "exit_code": exit_code})
    return exit_code


def run_trials(task_path: Path) -> int:
    """Run the trials of a task that no other worker runs; failures are printed, and kept in the store.

    Returns:
        The exit code: 0 if no trial is left, 1 after an error that is not a trial's.
    """
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


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os._exit(ORPHANED)
