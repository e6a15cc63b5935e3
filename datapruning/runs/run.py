"""A run folder: `config.toml` (resolved, rerunnable), `metrics.jsonl`, `result.json`, `model.safetensors`, `checkpoint/`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from datapruning.config.recipe import ENVIRONMENT_TABLE, RUN_TABLE, Recipe
from datapruning.config.toml import to_toml
from datapruning.errors import IncompatibleInputs, InvalidFile, OutputExists, UserError, first_line
from datapruning.io.atomic import remove_folder, write_text
from datapruning.io.disk_space import check_writable, remove_partial_files
from datapruning.io.json import first_difference
from datapruning.io.locks import exclusive_lock
from datapruning.io.text import MAX_TOML_BYTES, parse_toml, prepend_checksum, read_text, verify_text
from datapruning.runs.metrics import EpochRecord
from datapruning.runs.result import RunResult
from datapruning.runs.run_config import Environment, RunOptions
from datapruning.runs.trackers.trackers import RunTracker, Trackers
from datapruning.utils.processes import agree, is_main
from datapruning.utils.records import parse_record

if TYPE_CHECKING:
    from torch import nn

    from datapruning.runs.model_file import ModelDescription

CONFIG, METRICS, RESULT, MODEL = "config.toml", "metrics.jsonl", "result.json", "model.safetensors"
SUBSET = "subset.npz"
CHECKPOINTS, EARLY_CHECKPOINTS = "checkpoint", "early-checkpoints"
NO_LOGGERS = Trackers()
R = TypeVar("R", bound=RunResult)
ResultT = TypeVar("ResultT", bound=RunResult, covariant=True, default=RunResult)


@dataclass(frozen=True)
class FinishedRun(Generic[ResultT]):
    """A finished run: its folder and the content of its result.json."""

    folder: Path
    result: ResultT

    @property
    def test_accuracy(self) -> float:
        """Of the last epoch on the test set, in percent."""
        return self.result.test_accuracy


class Run:
    """A run folder: empty, unfinished or finished. While it is open, `loggers` show it in other tools."""

    def __init__(self, folder: Path, loggers: Trackers = NO_LOGGERS) -> None:
        self.folder = folder
        self._tracker = RunTracker(folder, loggers if is_main() else NO_LOGGERS)

    @contextmanager
    def open(
        self, recipe: Recipe, tables: Sequence[str], options: RunOptions, environment: Callable[[], Environment]
    ) -> Iterator[None]:
        """Lock the folder while the block runs; config.toml is written, or must hold the same run.

        Another process with the same run is waited for. A folder that is refused is left as it was; one that this call
        began is emptied again where a user's error ends the block before a mask, a checkpoint or metrics are written. That
        of a finished run is not locked, so that it may be read-only.

        Args:
            recipe: the settings, of which the run depends on those in `tables`.
            tables: their names.
            options: how the run was asked for.
            environment: of this process; not called for a finished run. Once a run has begun, the recorded one holds
                (`self.environment`).

        Raises:
            OutputExists: the folder holds something else. IncompatibleInputs: another number of processes, or another
                device, began the run.
        """
        config = {RUN_TABLE: options.to_json(), **recipe.identity(*tables)}
        self._check(config)
        if agree((self.folder / RESULT).exists() and not self._tracker.enabled):  # process 0 alone has trackers
            self._remove_checkpoints()  # of a process that was killed at its very end
            yield  # without a lock: nothing is written, and the folder may be read-only
            return
        with exclusive_lock(self.folder / "run", f"another process is at work in {self.folder}"):
            self._check(config)  # another process may have written it while this one waited
            for name in (CONFIG, METRICS, MODEL, RESULT):
                remove_partial_files(self.folder / name)
            is_new = not (self.folder / CONFIG).exists()
            if is_new:
                text = to_toml({**config, ENVIRONMENT_TABLE: environment().to_json()})
                write_text(self.folder / CONFIG, prepend_checksum(text))
            if (self.folder / RESULT).exists():
                self._remove_checkpoints()  # of a process that was killed at its very end
            else:
                self._check_environment(environment())
            try:
                with self._tracker.open(CONFIG, METRICS, RESULT):
                    yield
            except UserError:
                if is_new and is_main():
                    self._discard()
                raise

    def _discard(self) -> None:
        """Empty the folder of a run that was refused before any of its work was written, so that it can be given again."""
        if {path.name for path in _visible(self.folder)} <= {CONFIG, SUBSET}:
            for name in (SUBSET, CONFIG):
                (self.folder / name).unlink(missing_ok=True)

    def check_output_dir(self) -> None:
        """Refuse a path that is neither free nor a run folder, before other work is done. A finished run may be read-only.

        Raises:
            OutputExists: a file, or a folder without config.toml that is not empty.
            InvalidFile: nothing can be written there.
        """
        if not (self.folder / RESULT).exists():
            check_writable(self.folder)
        if (self.folder / CONFIG).exists() or not self.folder.exists():
            return
        if not self.folder.is_dir() or any(_visible(self.folder)):
            raise OutputExists(
                f"{self.folder} holds something else (no {CONFIG} in it); name another output path", parameter="out"
            )

    def _check(self, config: Mapping[str, object]) -> None:
        self.check_output_dir()
        if (self.folder / CONFIG).exists():
            recorded = self._tables()
            recorded.pop(ENVIRONMENT_TABLE, None)
            requested = tomllib.loads(to_toml(config))
            if recorded != requested:
                difference = first_difference(recorded, requested)
                raise OutputExists(
                    f"{self.folder} holds another run ({difference}); name another output path", parameter="out"
                )

    def _check_environment(self, environment: Environment) -> None:
        recorded, current = (device.partition(":")[0] for device in (self.environment.device, environment.device))
        if recorded != current:
            raise IncompatibleInputs(
                f"{self.folder} was begun on the device {recorded}, not on {current}, which rounds otherwise: resume there, "
                "or name another output path",
                parameter="out",
            )
        processes, now = self.environment.processes or 1, environment.processes or 1
        if processes != now:
            raise IncompatibleInputs(
                f"{self.folder} was begun by {processes} process{'es' * (processes > 1)}, not by {now}: "
                "resume with as many (torchrun's nproc_per_node), or name another output path",
                parameter="out",
            )

    @property
    def environment(self) -> Environment:
        """Where the run was begun, as config.toml records it.

        Raises:
            InvalidFile: config.toml is missing or broken.
        """
        table = self._tables().get(ENVIRONMENT_TABLE, {})
        return parse_record(Environment, table, f"{self.folder / CONFIG}: in [{ENVIRONMENT_TABLE}]")

    def _tables(self) -> dict[str, Any]:
        path = self.folder / CONFIG
        try:
            text = read_text(path, MAX_TOML_BYTES)
            tables = parse_toml(text)
        except (OSError, ValueError) as error:
            raise InvalidFile(f"{path} cannot be read: {first_line(error)}") from None
        verify_text(path, text)
        return tables

    def result(self, kind: type[R]) -> R | None:
        """The result of a finished run, or None.

        Raises:
            InvalidFile: result.json is broken, or that of another kind of run.
        """
        return kind.read(self.folder / RESULT) if (self.folder / RESULT).exists() else None

    def checkpoint_path(self, part: str = "state") -> Path:
        """Path of the checkpoint of a part of the run's training."""
        return self.folder / CHECKPOINTS / f"{part}.safetensors"

    def early_checkpoint_path(self, epoch: int) -> Path:
        """Path of the weights that a teacher keeps after an epoch, counted from 1."""
        return self.folder / EARLY_CHECKPOINTS / f"epoch-{epoch:04d}.safetensors"

    def finish(
        self, model: nn.Module, description: ModelDescription, history: Sequence[EpochRecord], result: R
    ) -> FinishedRun[R]:
        """Write the network, metrics and, last, result.json, which makes the run finished; remove the checkpoints."""
        from datapruning.runs.model_file import save_model

        save_model(self.folder / MODEL, dict(model.state_dict()), description)
        self.write_metrics(history)
        result.write(self.folder / RESULT)
        self._remove_checkpoints()
        self._tracker.log_result(result)
        return FinishedRun(self.folder, result.read(self.folder / RESULT))

    def _remove_checkpoints(self) -> None:
        remove_folder(self.folder / CHECKPOINTS)

    def write_metrics(self, history: Sequence[EpochRecord]) -> None:
        """Write one JSON object an epoch."""
        write_text(self.folder / METRICS, "".join(json.dumps(record.to_json()) + "\n" for record in history))
        self._tracker.log_epochs(history)


def model_path(source: Path) -> Path:
    """The file of weights of a finished run, or `source` itself where it is a file.

    Raises:
        InvalidFile: not there, or no finished run.
    """
    if not source.exists():
        raise InvalidFile(f"{source} is not there")
    if source.is_dir() and not (source / RESULT).exists():
        raise InvalidFile(f"{source} is no finished run: it has no {RESULT}")
    return source / MODEL if source.is_dir() else source


def _visible(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if not p.name.startswith(".")]
