"""The worker processes of a sweep: started, watched, replaced where one dies in a row, never outliving their parent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from datapruning.house import HOME
from datapruning.sweeping.board import Board, name_of
from datapruning.sweeping.worker import Task

BOOT = "import sys; sys.path.append(sys.argv[1]); from datapruning.sweeping.worker import main; sys.exit(main())"
MOST_DEATHS = 2
"""A row in which so many workers died is kept as failed: one may have been killed, two say that it is the row."""
A_MOMENT, PATIENCE = 3.0, 10.0
LOGS = "logs"


class Crew:
    """Worker processes. They import what they need while the parent still prepares, and begin with `go`.

    They stay in the parent's process group, and each ends when its stdin does: whatever ends the parent ends them.

    Args:
        jobs: how many.
        folder: of the sweep; the workers' own lines go to `logs/` in it.
        tell: gets a line for people; may be changed.
    """

    def __init__(self, jobs: int, folder: Path, tell: Callable[[str], None]) -> None:
        self._logs, self.tell = folder / LOGS, tell
        self._deaths: Counter[str] = Counter()
        self._last_row: dict[int, Mapping[str, Any]] = {}
        self._line = b""
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        for number in range(1, jobs + 1):
            self._workers[number] = self._start(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._log(number).open("ab") as log:
            words = [sys.executable, "-P", "-c", BOOT, str(HOME)]
            return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def _log(self, number: int) -> Path:
        return self._logs / f"worker-{number}.txt"

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

    def tend(self, board: Board) -> bool:
        """See who died; returns whether anybody is at work.

        A worker that died in a row is replaced; the row is taken over, or kept as failed if it was not the first there.
        One that died outside any row is not replaced: another would do the same.
        """
        self._last_row |= {
            claim.pid: config for config in board.left if (claim := board.running.get(name_of(config))) is not None
        }
        for number, worker in list(self._workers.items()):
            code = worker.poll()
            if code is None:
                continue
            del self._workers[number]
            _close(worker)
            if code == 0:
                continue
            row = self._row_of(worker.pid, board)
            if row is None:
                self.tell(f"worker {number} {_ending(code)}: {self._last_words(number)}")
                continue
            self._deaths[name_of(row)] += 1
            if self._deaths[name_of(row)] >= MOST_DEATHS and not _somebody_is_at(row, board):
                board.store.fail(row, f"its process {_ending(code)}, and so did another one in it before (out of memory?)")
            else:
                self.tell(f"worker {number} {_ending(code)} in {board.grid.label(row)}; another takes the row over")
            self._workers[number] = self._start(number)
            self._send(self._workers[number])
        return bool(self._workers)

    def _row_of(self, pid: int, board: Board) -> Mapping[str, Any] | None:
        """The row that a process died in: its claim lies there still, or it was seen there and another has it already."""
        for config in board.left:
            claim = board.store.claim(config)
            if claim is not None and claim.pid == pid and not claim.alive:
                return config
        last = self._last_row.get(pid)
        return last if last in board.left and board.store.get(last) is None else None

    def _last_words(self, number: int) -> str:
        try:
            lines = self._log(number).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{last} (all of it: {self._log(number)})"

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


def _somebody_is_at(row: Mapping[str, Any], board: Board) -> bool:
    claim = board.store.claim(row)
    return claim is not None and claim.alive


def _close(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    with suppress(BrokenPipeError):  # it never read its task
        worker.stdin.close()


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
