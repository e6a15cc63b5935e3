"""The logs of a run folder: each gets every epoch once, whatever was killed in between.

`tracking.json` in the run folder says what each log holds. A log that is opened gets what it lacks first, so that logging
may begin in the middle of a run, or after it. Logs change nothing that is trained: a run with logs has the name and the bits
of one without.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datapruning.errors import UnknownName, first_line
from datapruning.io.json import read_json, write_json
from datapruning.runs.metrics import EpochRecord, read_metrics
from datapruning.runs.result import RunResult
from datapruning.runs.trackers.base import RunInfo, Tracker, import_tool
from datapruning.runs.trackers.mlflow import MLflowTracker
from datapruning.runs.trackers.tensorboard import TensorBoardTracker
from datapruning.runs.trackers.wandb import WandbTracker
from datapruning.utils.console import info
from datapruning.utils.processes import alone
from datapruning.utils.records import Record, parse_record

TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoardTracker, "wandb": WandbTracker, "mlflow": MLflowTracker}
STATE_FILE = "tracking.json"
RESULT_KEYS = ("test_accuracy", "kept", "total", "kd_weight", "temperature", "steps", "samples_seen")


class LogState(Record):
    """What a log holds: its name (None: it was never opened), how many epochs, and whether the result."""

    name: str | None = None
    num_epochs: int = 0
    has_result: bool = False


class TrackingState(Record):
    """The content of tracking.json: the state of each tool's log, by the tool."""

    logs: dict[str, LogState]


@dataclass(frozen=True)
class Trackers:
    """Which tools log, and the workspace for logs that runs share."""

    tools: tuple[str, ...] = ()
    workspace: Path = Path()


def find_tools(names: Sequence[str]) -> tuple[str, ...]:
    """The names of tools, each once, checked to be usable; one text may hold several, separated by commas.

    Raises:
        UnknownName: an unknown tool. MissingPackage: its package is not installed.
    """
    texts = [names] if isinstance(names, str) else names
    tools = tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    for tool in tools:
        if tool not in TRACKERS:
            raise UnknownName("log", tool, TRACKERS)
        import_tool(tool)
    return tools


class RunTracker:
    """The logs of one run folder; without tools, nothing happens.

    A tool that fails is left out from then on, with one line; the same command brings its log up to date later.
    """

    def __init__(self, folder: Path, trackers: Trackers) -> None:
        self._folder, self._trackers = folder, trackers
        self._open: dict[str, Tracker] = {}
        self._logs: dict[str, LogState] = {}

    @property
    def enabled(self) -> bool:
        """Whether there are tools."""
        return bool(self._trackers.tools)

    @contextmanager
    def open(self, config: str, metrics: str, result: str) -> Iterator[None]:
        """Log while the block runs; what the folder holds already is logged first.

        The arguments name the files in the folder; those of metrics and of the result may be missing.

        Raises:
            InvalidFile: one of them, or tracking.json, is broken.
        """
        if not self._trackers.tools:
            yield
            return
        path = self._folder / STATE_FILE
        self._logs = dict(parse_record(TrackingState, read_json(path), str(path)).logs) if path.exists() else {}
        run = RunInfo(self._folder, self._trackers.workspace, (self._folder / config).read_text(encoding="utf-8"))
        for tool in self._trackers.tools:
            with self._guarded(tool):
                self._start(tool, run)
        try:
            self.log_epochs(read_metrics(self._folder / metrics))
            if (self._folder / result).exists():
                self.log_result(RunResult.read(self._folder / result))
            yield
        finally:
            for tool, tracker in list(self._open.items()):
                with self._guarded(tool):
                    tracker.finish(self._logs[tool].has_result)
            self._save()  # a result counts as logged when the log is closed: until then a tool may hold it back

    def _start(self, tool: str, run: RunInfo) -> None:
        state = self._logs.setdefault(tool, LogState())
        if state.has_result:
            return  # it holds everything
        tracker = TRACKERS[tool]()
        log = tracker.start(run, state.name, state.num_epochs)
        self._logs[tool] = state.model_copy(update={"name": log.name, "num_epochs": log.num_epochs})
        self._open[tool] = tracker
        self._save()
        info(f"log: {tool} in {log.location}")

    def log_epochs(self, history: Sequence[EpochRecord]) -> None:
        """Log the epochs that are new."""
        states = dict(self._logs)
        for tool, tracker in list(self._open.items()):
            with self._guarded(tool):
                for epoch in range(self._logs[tool].num_epochs, len(history)):
                    tracker.log_epoch(epoch, _numbers({**history[epoch].to_json(), "epoch": None}))
                    self._logs[tool] = self._logs[tool].model_copy(update={"num_epochs": epoch + 1})
        if self._logs != states:
            self._save()

    def log_result(self, result: RunResult) -> None:
        """Log the result, once."""
        values = dict(result)
        numbers = _numbers({key: values.get(key) for key in RESULT_KEYS})
        for tool, tracker in list(self._open.items()):
            state = self._logs[tool]
            if not state.has_result:
                with self._guarded(tool):
                    tracker.log_result(max(state.num_epochs, 1), numbers)
                    self._logs[tool] = state.model_copy(update={"has_result": True})

    def _save(self) -> None:
        with alone():  # process 0 alone has trackers
            write_json(self._folder / STATE_FILE, TrackingState(logs=self._logs).to_json())

    @contextmanager
    def _guarded(self, tool: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of a tool, or of its network
            self._open.pop(tool, None)
            self._logs[tool] = self._logs[tool].model_copy(update={"has_result": False})
            reason = f"{type(error).__name__}: {first_line(error)}"
            info(f"log: {tool} fails ({reason}); the run continues, and the same command completes the log")


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    return {key: value for key, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}
