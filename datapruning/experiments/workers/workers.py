"""Workers that are watched, and replaced where one dies in a row, wherever they run."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from datapruning.experiments.workers.status import Board, name_of
from datapruning.experiments.workers.task import Task
from datapruning.experiments.workers.worker import LOGS

MOST_DEATHS = 2
"""A row in which so many workers died is kept as failed: one may have been killed, two say that it is the row."""
LOCKS_SECONDS = 120.0
"""A row whose lock is free for so long, while the worker in it lives: the locks of its machine are not seen here."""
Process = tuple[str, int]
"""Host and process id."""


@dataclass(frozen=True)
class Ending:
    """How a worker ended.

    Attributes:
        words: as in "worker 1 was ended by SIGKILL"; empty: by itself, no row of its task being left.
        again: another one is to be started, wherever it was: its time was up, or its task had not all of the rows.
        blames: the row that it was in may be why.
    """

    words: str = ""
    again: bool = False
    blames: bool = True


class Workers(ABC):
    """Workers of one kind.

    Args:
        jobs: how many.
        folder: of the store; the workers' own lines go to `logs/` in it.
        tell: gets a line for people; may be changed.
    """

    def __init__(self, jobs: int, folder: Path, tell: Callable[[str], None]) -> None:
        self.jobs, self.folder, self.tell = jobs, folder, tell
        self._deaths: Counter[str] = Counter()
        self._last_row: dict[Process, Mapping[str, Any]] = {}
        self._unlocked: dict[Process, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()
        self.stop()

    @abstractmethod
    def go(self, task: Task) -> None:
        """Give every worker its task."""

    @abstractmethod
    def wait(self) -> None:
        """Let the workers end by themselves, for a moment: no row is left for them."""

    @abstractmethod
    def stop(self) -> None:
        """End, or leave alone, the workers that still live."""

    @abstractmethod
    def names(self) -> list[str]:
        """Of those that have not ended, as far as is known."""

    @abstractmethod
    def ending(self, name: str) -> Ending | None:
        """How a worker ended; None: it has not."""

    @abstractmethod
    def process(self, name: str) -> Process | None:
        """Which process it is; None: none that is known."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Forget a worker that ended."""

    @abstractmethod
    def start(self, count: int) -> None:
        """Start so many more, with the same task."""

    def last_words(self, name: str) -> str:
        """The last line that a worker left, and where all of them are."""
        log = self.folder / LOGS / f"{name}.txt"
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        return f"{next((line.strip() for line in reversed(lines) if line.strip()), 'it said nothing')} (all of it: {log})"

    def tend(self, board: Board) -> bool:
        """See who died; returns whether anybody is at work.

        A worker that died in a row is replaced; the row is taken over, or kept as failed if it was not the first there.
        One that died outside any row is not replaced: another would do the same.
        """
        self._last_row |= {
            (claim.host, claim.pid): config
            for config in board.left
            if (claim := board.running.get(name_of(config))) is not None
        }
        for name in self.names():
            ending = self.ending(name)
            if ending is None:
                self._check_locks(name, board)
                continue
            process = self.process(name)
            words = self.last_words(name) if ending.words else ""
            self.drop(name)
            row = self._row_of(process, board) if ending.words and process is not None else None
            if row is not None:
                self._say_of(row, _called(name), ending, board)
            elif ending.words:
                self.tell(f"{_called(name)} {ending.words}" + ("; another begins" if ending.again else f": {words}"))
            if row is not None or ending.again:
                self.start(1)
        return bool(self.names())

    def _check_locks(self, name: str, board: Board) -> None:
        """Say once if a worker that lives seems to have died: without common locks, two may do the same row."""
        process = self.process(name)
        if process is None or process not in [(claim.host, claim.pid) for claim in board.died.values()]:
            return
        since = self._unlocked.setdefault(process, time.monotonic())
        if since and time.monotonic() - since > LOCKS_SECONDS:
            self._unlocked[process] = 0.0
            self.tell(
                f"{_called(name)} on {process[0]} is at a row, but its lock in {self.folder} is not seen here: on this file "
                "system, locks do not reach from machine to machine (docs/launchers.md)"
            )

    def _say_of(self, row: Mapping[str, Any], called: str, ending: Ending, board: Board) -> None:
        self._deaths[name_of(row)] += ending.blames
        if self._deaths[name_of(row)] >= MOST_DEATHS and ending.blames and not _somebody_is_at(row, board):
            board.store.fail(row, f"its process {ending.words}, and so did another one in it before (out of memory?)")
        else:
            self.tell(f"{called} {ending.words} in {board.label(row)}; another takes the row over")

    def _row_of(self, process: Process, board: Board) -> Mapping[str, Any] | None:
        """The row that a process died in: its claim lies there still, or it was seen there and another has it already."""
        for config in board.left:
            claim = board.store.claim(config)
            if claim is not None and (claim.host, claim.pid) == process and not claim.alive:
                return config
        last = self._last_row.get(process)
        return last if last in board.left and board.store.get(last) is None else None


def _called(name: str) -> str:
    return name.replace("-", " ", 1)


def _somebody_is_at(row: Mapping[str, Any], board: Board) -> bool:
    claim = board.store.claim(row)
    return claim is not None and claim.alive
