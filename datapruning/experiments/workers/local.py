"""Worker processes of this machine, which never outlive the process that started them."""

import os
import platform
import subprocess

from datapruning.experiments.workers.pool import WorkerExit, WorkerPool, describe_exit, worker_command
from datapruning.experiments.workers.worker import Process, log_path

KILL_TIMEOUT = 10.0
"""Seconds that a worker gets to end on SIGTERM before it is killed."""


class LocalWorkers(WorkerPool):
    """Child processes of the command."""

    handles: dict[str, subprocess.Popen[bytes]]

    def start(self, count: int) -> None:
        """Start processes; what they print before they open their log goes there as well."""
        for _ in range(count):
            name = f"worker-{next(self.numbers)}"
            log = log_path(self.folder, name)
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                command = worker_command(self.task_path, name, parent=os.getpid())
                self.handles[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

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
