"""The logs of a run folder: each holds every row once, whatever was killed in between.

`tracking.json` in the run folder says what each log holds. A log that is opened gets what it lacks first, so that it may
be begun in the middle of a run, or after it. Nothing here touches what is trained: with a log or without, a run has the
same name and the same bits.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile, first_line
from datapruning.io.json import read_json, write_json
from datapruning.runs.result import RunResult
from datapruning.runs.trackers.base import RunInfo, Tracker
from datapruning.runs.trackers.factory import find_tools, make_tracker
from datapruning.utils.console import info

STATE_FILE = "tracking.json"
RESULT_KEYS = ("test_accuracy", "kept", "total", "kd_weight", "temperature", "steps", "samples_seen")


@dataclass(frozen=True)
class Trackers:
    """Which tools log, and the workspace for what they keep together."""

    tools: tuple[str, ...] = ()
    root: Path = Path()

    @classmethod
    def of(cls, names: Sequence[str], root: str | Path) -> Trackers:
        """Those of the named tools.

        Raises:
            UnknownName: no such tool. MissingPackage: it is not installed.
        """
        return cls(find_tools(names), Path(root))


class RunTracker:
    """The open logs of one run folder; without tools, nothing happens.

    A tool that fails is left out from then on, in one line; the same command brings its log up to date later.
    """

    def __init__(self, folder: Path, logs: Trackers) -> None:
        self._folder, self._logs = folder, logs
        self._open: dict[str, Tracker] = {}
        self._state: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self, config: str, metrics: str, result: str) -> Iterator[None]:
        """Log while the block runs; what the folder holds already is logged first.

        Args:
            config: name of the file of settings in the folder.
            metrics: likewise, rows as JSON lines; it may be missing.
            result: likewise, the result; it may be missing.

        Raises:
            InvalidFile: one of them is broken.
        """
        if not self._logs.tools:
            yield
            return
        self._state = read_json(self._folder / STATE_FILE) if (self._folder / STATE_FILE).exists() else {}
        text = (self._folder / config).read_text(encoding="utf-8")
        story = RunInfo(self._folder, self._logs.root, tomllib.loads(text), text)
        for tool in self._logs.tools:
            with self._guarded(tool):
                self._start(tool, story)
        try:
            self.log_epochs(_read_rows(self._folder / metrics))
            if (self._folder / result).exists():
                self.log_result(RunResult.read(self._folder / result))
            yield
        finally:
            for tool, tracker in list(self._open.items()):
                with self._guarded(tool):
                    tracker.finish(bool(self._state[tool]["result"]))
            self._save()  # a result counts as logged when the log is closed: until then a tool may hold it back

    def _start(self, tool: str, story: RunInfo) -> None:
        state = self._state.setdefault(tool, {"log": None, "rows": 0, "result": False})
        if state["result"]:
            return  # it holds everything
        tracker = make_tracker(tool)
        log = tracker.start(story, state["log"], state["rows"])
        state["log"], state["rows"] = log.name, log.rows
        self._open[tool] = tracker
        self._save()
        info(f"log: {tool} in {log.where}")

    def log_epochs(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Log the rows, one an epoch, that are new."""

        def send(tracker: Tracker, state: dict[str, Any]) -> None:
            for epoch in range(state["rows"], len(history)):
                tracker.log_epoch(epoch, _numbers(history[epoch], [key for key in history[epoch] if key != "epoch"]))
                state["rows"] = epoch + 1

        before = [state["rows"] for state in self._state.values()]
        self._for_each_tracker(send)
        if [state["rows"] for state in self._state.values()] != before:
            self._save()

    def log_result(self, result: RunResult) -> None:
        """Log the result, once."""
        numbers = _numbers(dict(result), RESULT_KEYS)

        def send(tracker: Tracker, state: dict[str, Any]) -> None:
            if not state["result"]:
                tracker.log_result(max(state["rows"], 1), numbers)
                state["result"] = True

        self._for_each_tracker(send)

    def _for_each_tracker(self, send: Callable[[Tracker, dict[str, Any]], None]) -> None:
        for tool, tracker in list(self._open.items()):
            with self._guarded(tool):
                send(tracker, self._state[tool])

    def _save(self) -> None:
        write_json(self._folder / STATE_FILE, self._state)

    @contextmanager
    def _guarded(self, tool: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # anybody's code, and anybody's network
            self._open.pop(tool, None)
            self._state[tool]["result"] = False
            why = f"{type(error).__name__}: {first_line(error)}"
            info(f"log: {tool} fails ({why}); the run goes on, and the same command brings the log up to date")


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read: {first_line(error)}") from None


def _numbers(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, float]:
    return {key: row[key] for key in keys if type(row.get(key)) in (int, float)}
