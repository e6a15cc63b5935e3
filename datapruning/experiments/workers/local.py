"""Worker processes of this machine, which never outlive the process that started them."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from datapruning.experiments.workers.task import Task
from datapruning.experiments.workers.worker import LOGS
from datapruning.experiments.workers.workers import Ending, Process, Workers
from datapruning.utils.system import PROJECT_ROOT

BOOT = "import sys; sys.path.append(sys.argv[1]); from datapruning.experiments.workers.worker import main; sys.exit(main())"
A_MOMENT, PATIENCE = 3.0, 10.0


class Crew(Workers):
    """Worker processes of this machine. They import what they need while the parent still prepares; `go` lets them begin.

    They stay in the parent's process group, and each ends when its stdin does: whatever ends the parent ends them.
    """

    def __init__(self, jobs: int, folder: Path, tell: Callable[[str], None]) -> None:
        super().__init__(jobs, folder, tell)
        self._line = b""
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._free = [f"worker-{number}" for number in range(jobs, 0, -1)]
        self.start(jobs)

    def start(self, count: int) -> None:
        """They wait for their task, if there is none yet."""
        (self.folder / LOGS).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            name = self._free.pop()
            with (self.folder / LOGS / f"{name}.txt").open("ab") as log:
                words = [sys.executable, "-P", "-c", BOOT, str(PROJECT_ROOT)]
                self._workers[name] = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)
            if self._line:
                self._send(self._workers[name])

    def go(self, task: Task) -> None:
        """Give every worker its task."""
        self._line = json.dumps(asdict(task)).encode() + b"\n"
        for worker in self._workers.values():
            self._send(worker)

    def _send(self, worker: subprocess.Popen[bytes]) -> None:
        assert worker.stdin is not None
        with suppress(BrokenPipeError):  # it died before it began; `tend` says so
            worker.stdin.write(self._line)
            worker.stdin.flush()

    def names(self) -> list[str]:
        """worker-1, worker-2, ..."""
        return list(self._workers)

    def ending(self, name: str) -> Ending | None:
        """By its exit code."""
        code = self._workers[name].poll()
        return None if code is None else Ending(ended(code))

    def process(self, name: str) -> Process | None:
        """The child."""
        return platform.node(), self._workers[name].pid

    def drop(self, name: str) -> None:
        """Its name is used again."""
        _close(self._workers.pop(name))
        self._free.append(name)

    def wait(self) -> None:
        """Let the workers end by themselves, for a moment: no row is left for them."""
        deadline = time.monotonic() + A_MOMENT
        for worker in self._workers.values():
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(deadline - time.monotonic(), 0))

    def stop(self) -> None:
        """End every worker that still lives."""
        for worker in self._workers.values():
            worker.terminate()
        for worker in self._workers.values():
            try:
                worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            _close(worker)
        self._workers = {}


def ended(code: int) -> str:
    """An exit code in words; empty for 0."""
    if code >= 0:
        return f"ended with exit code {code}" if code else ""
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _close(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    with suppress(BrokenPipeError):  # it never read its task
        worker.stdin.close()
