"""A pool of workers: how those of one kind are started, polled and stopped. The kinds are local, Slurm and Ray."""

import itertools
import os
import platform
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from datapruning.experiments.workers.task import Task, write_task
from datapruning.experiments.workers.worker import Process, heartbeat_path, log_path, read_heartbeat
from datapruning.utils.system import PROJECT_ROOT

BOOTSTRAP = (
    "import os, sys; root, parent, *task = sys.argv[1:]; parent = int(parent) or os.getppid(); sys.path.append(root); "
    "from datapruning.experiments.workers.worker import main; sys.exit(main(parent, *task))"
)
EXIT_TIMEOUT = 3.0
"""Seconds that workers get to exit by themselves once no trial is left."""
KILL_TIMEOUT = 10.0
"""Seconds that a worker of this machine gets to end on SIGTERM before it is killed."""
MAX_START = 10.0
"""Seconds that a worker is expected to need at most until its first trial."""


def start_seconds() -> float:
    """Seconds that workers of this machine are expected to need until their first trial.

    A worker imports and opens what this process has imported and opened: the processor time of this one is taken.
    """
    return min(time.process_time(), MAX_START)


@dataclass(frozen=True)
class WorkerExit:
    """How a worker ended.

    Attributes:
        message: such as "was ended by SIGKILL"; empty: by itself, no trial of its task being left.
        restart: start another worker whatever this one was doing: its time was up, or its task lacked some trials.
        blame_trial: the trial that it was running may be the reason.
    """

    message: str = ""
    restart: bool = False
    blame_trial: bool = True


class WorkerPool(ABC):
    """`num_workers` workers of one kind for the trial store in `folder`; `info` prints a line for the user."""

    lock: AbstractContextManager[object] = nullcontext()
    """Held while workers are polled and replaced, where several commands do so."""

    def __init__(self, num_workers: int, folder: Path, info: Callable[[str], None]) -> None:
        self.num_workers, self.folder, self.info = num_workers, folder, info
        self.task_path = Path()
        self.handles: dict[str, Any] = {}
        self.numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        deadline = time.monotonic() + EXIT_TIMEOUT
        while kind is None and time.monotonic() < deadline and self._any_alive():
            time.sleep(0.05)
        self.close(finished=kind is None)

    def _any_alive(self) -> bool:
        with self.lock:
            return any(self.poll(name) is None for name in self.names())

    def submit(self, task: Task) -> None:
        """Give the workers their task, and start them."""
        self.task_path = write_task(self.folder, task)
        self.start(self.num_workers)

    @abstractmethod
    def start(self, count: int) -> None:
        """Start `count` more workers."""

    @abstractmethod
    def poll(self, name: str) -> WorkerExit | None:
        """How a worker ended; None: it has not."""

    @abstractmethod
    def close(self, finished: bool) -> None:
        """Stop or leave the workers that still live; `finished`: no trial is left for them."""

    def names(self) -> list[str]:
        """The workers that have not been removed, in the order of their start."""
        return list(self.handles)

    def remove(self, name: str) -> None:
        """Forget a worker that ended."""
        self.handles.pop(name, None)
        heartbeat_path(self.folder, name).unlink(missing_ok=True)

    def process(self, name: str) -> Process | None:
        """The process of a worker; None: not known yet."""
        heartbeat = read_heartbeat(self.folder, name)
        return None if heartbeat is None else (heartbeat.host, heartbeat.pid)


class LocalWorkers(WorkerPool):
    """Worker processes of this machine: children of the command, which never outlive it.

    They take the GPUs `gpus` (names in CUDA_VISIBLE_DEVICES) one after the other; none: each sees what the command sees.
    """

    handles: dict[str, subprocess.Popen[bytes]]

    def __init__(self, num_workers: int, folder: Path, info: Callable[[str], None], gpus: Sequence[str] = ()) -> None:
        super().__init__(num_workers, folder, info)
        self.gpus = gpus
        self.gpu_of: dict[str, str] = {}

    def start(self, count: int) -> None:
        """Start processes; what they print before they open their log goes there as well."""
        for _ in range(count):
            name = f"worker-{next(self.numbers)}"
            log = log_path(self.folder, name)
            log.parent.mkdir(parents=True, exist_ok=True)
            environment = {**os.environ, **self._gpu(name)}
            with log.open("ab") as file:
                command = worker_command(self.task_path, name, parent=os.getpid())
                self.handles[name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment
                )

    def _gpu(self, name: str) -> dict[str, str]:
        """The variable that shows a new worker one GPU: the one that the fewest workers have, the first of equals."""
        if not self.gpus:
            return {}
        taken = [self.gpu_of[worker] for worker in self.handles]
        self.gpu_of[name] = min(self.gpus, key=taken.count)
        return {"CUDA_VISIBLE_DEVICES": self.gpu_of[name]}

    def poll(self, name: str) -> WorkerExit | None:
        """How a process ended, by its exit code."""
        code = self.handles[name].poll()
        return None if code is None else WorkerExit(describe_exit(code))

    def process(self, name: str) -> Process:
        """The child process, known before it writes its heartbeat."""
        return platform.node(), self.handles[name].pid

    def close(self, finished: bool) -> None:
        """End every process that still lives."""
        for worker in self.handles.values():
            worker.terminate()
        for name, worker in list(self.handles.items()):
            try:
                worker.wait(KILL_TIMEOUT)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            self.remove(name)


def worker_command(task_path: Path, name: str, parent: int = 0) -> list[str]:
    """The command line of a worker, for machines where this interpreter, this package and the task have the same paths.

    The worker ends with the process `parent`; 0: with whichever starts it.
    """
    return [sys.executable, "-P", "-c", BOOTSTRAP, str(PROJECT_ROOT), str(parent), str(task_path), name]


def describe_exit(code: int) -> str:
    """An exit code as text; empty for 0. Negative codes are signals."""
    if code >= 0:
        return f"ended with exit code {code}" if code else ""
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
