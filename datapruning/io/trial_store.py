"""The trial store: independent trials, each run once, by any number of processes in any order.

A store is a folder: `store.json` says what it is for, `trials/` has a JSON file for each finished trial, `failed/` one for
each trial that ended in an exception, `running/` one for each trial that a process is running. A trial's file is named by
the hash of its configuration, so no trial is run twice, and a killed process loses at most the trial that it was running.
"""

import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datapruning.errors import DataPruningError, DeviceError, DiskFull, IncompatibleInputs, InvalidFile, first_line
from datapruning.io.atomic import remove_file
from datapruning.io.json import first_difference, read_json, write_json
from datapruning.io.locks import exclusive_lock, file_lock, try_acquire
from datapruning.io.trial import FailedTrial, RunningTrial, StoreManifest, Trial, TrialConfig, read_trial_file
from datapruning.utils.console import info
from datapruning.utils.device_errors import as_device_error
from datapruning.utils.hashing import config_hash
from datapruning.utils.plural import plural
from datapruning.utils.processes import agree, alone, is_main
from datapruning.utils.records import parse_record

TrialFn = Callable[[TrialConfig], Mapping[str, Any]]
WAIT_SECONDS = 1.0

__all__ = ["FailedTrial", "RunningTrial", "Trial", "TrialConfig", "TrialStore", "trial_path"]


class TrialStore:
    """Trials in a folder, which is made if it is not there.

    `about` is plain data that all trials share (dataset fingerprint, recipe, thread count, ...): the identity of the store.

    Raises:
        IncompatibleInputs: the folder is a store about something else.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        requested = StoreManifest(about=json.loads(json.dumps(dict(about))))  # as it reads back: a tuple is a list
        path = folder / "store.json"
        if not agree(path.exists()):
            with exclusive_lock(path, f"another process opens {folder}"):
                if not path.exists():
                    write_json(path, requested.to_json())
        recorded = parse_record(StoreManifest, read_json(path), str(path))
        if config_hash(recorded.to_json(), 64) != config_hash(requested.to_json(), 64):
            differing = first_difference(recorded.to_json(), requested.to_json())
            raise IncompatibleInputs(f"{folder} is a store of other runs ({differing}); name another folder")

    def path(self, config: TrialConfig) -> Path:
        """The file of a finished trial."""
        return trial_path(self.folder, config)

    def _file(self, kind: str, config: TrialConfig) -> Path:
        return trial_path(self.folder, config, kind)

    def get(self, config: TrialConfig) -> Trial | None:
        """The finished trial, or None.

        Raises:
            InvalidFile: the file exists but does not hold this trial.
        """
        path = self.path(config)
        return read_trial_file(path, Trial) if agree(path.exists()) else None

    def trials(self) -> Iterator[Trial]:
        """All finished trials, in no promised order.

        Raises:
            InvalidFile: a file among them that holds no trial.
        """
        for path in sorted((self.folder / "trials").glob("[!.]*.json")):
            yield read_trial_file(path, Trial)

    def failure(self, config: TrialConfig) -> FailedTrial | None:
        """Why the trial failed, or None.

        Raises:
            InvalidFile: the file exists but does not hold this failure.
        """
        path = self._file("failed", config)
        return read_trial_file(path, FailedTrial) if agree(path.exists()) else None

    def record_failure(self, config: TrialConfig, error: str, trace: str | None = None) -> FailedTrial:
        """Record a failure: `run_remaining` does not run the trial again until `clear_failure`."""
        failure = FailedTrial(config=config, error=error, traceback=trace)
        write_json(self._file("failed", config), failure.to_json())
        return failure

    def clear_failure(self, config: TrialConfig) -> None:
        """Let the trial be run again."""
        remove_file(self._file("failed", config))

    def running_trial(self, config: TrialConfig) -> RunningTrial | None:
        """The process that runs the trial, or died in it. None: no process began it, or it ended in an exception."""
        path = self._file("running", config)
        try:
            trial = read_trial_file(path, RunningTrial)
            with self._lock(config, wait=False) as acquired:
                return trial.model_copy(update={"alive": not acquired})
        except InvalidFile:
            return None  # it ended just now

    def run(self, config: TrialConfig, work: TrialFn, *, wait: bool = True) -> Trial | None:
        """Run one trial, unless it is finished. While another process runs it, wait for that one, or return None.

        What `work` raises is raised here, and leaves nothing behind.
        """
        trial = self.get(config)
        if trial is not None:
            return trial
        with self._lock(config, wait) as is_locked:
            # another process may have finished it while we waited
            return (self.get(config) or self._run_locked(config, work)) if is_locked else None

    def run_all(self, configs: Sequence[TrialConfig], work: TrialFn, label: str = "trials") -> list[Trial]:
        """Run all trials that are not finished or running, wait for the others, and return all in the order given."""
        done = sum(self.get(c) is not None for c in configs)
        info(f"{label}: {done} of {plural(len(configs), 'trial')} finished")
        left: Iterable[TrialConfig] = [c for c in configs if self.get(c) is None]
        for trial in _poll_until_done(left, lambda config: self.run(config, work, wait=False)):
            done += 1
            info(f"{label}: {done} of {len(configs)} finished, {trial.seconds:.0f} s")
        return [trial for c in configs if (trial := self.get(c)) is not None]

    def try_run(self, config: TrialConfig, work: TrialFn) -> Trial | FailedTrial | None:
        """Run one trial, unless it is finished or failed; an exception is recorded as its failure. None: it is running."""
        outcome = self.get(config) or self.failure(config)
        if outcome is not None:
            return outcome
        with self._lock(config, wait=False) as is_locked:
            if not is_locked:
                return None
            outcome = self.get(config) or self.failure(config)
            if outcome is not None:
                return outcome
            try:
                return self._run_locked(config, work)
            except (DiskFull, DeviceError):  # no other trial would do better in this process
                raise
            except DataPruningError as error:
                return self.record_failure(config, first_line(error))
            except Exception as error:  # MemoryError, a bug: the other trials continue
                lost = as_device_error(error, "a trial")
                if isinstance(lost, DeviceError):
                    raise lost from error
                return self.record_failure(config, f"{type(error).__name__}: {first_line(error)}", traceback.format_exc())

    def run_remaining(self, configs: Sequence[TrialConfig], work: TrialFn) -> Iterator[Trial | FailedTrial]:
        """Like `run_all`, but a failed trial stops no other. Yields the outcomes as this process learns of them."""
        return _poll_until_done(configs, lambda config: self.try_run(config, work))

    @contextmanager
    def _lock(self, config: TrialConfig, wait: bool) -> Iterator[bool]:
        path = self.path(config)
        if wait:
            with exclusive_lock(path, f"another process runs the trial {path}"):
                yield True
            return
        lock = file_lock(path)
        if not try_acquire(lock, path):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _run_locked(self, config: TrialConfig, work: TrialFn) -> Trial:
        running_path = self._file("running", config)
        running = RunningTrial(config=config, pid=os.getpid(), host=platform.node(), since=time.time())
        write_json(running_path, running.to_json())
        try:
            started = time.perf_counter()
            result = work(config)
            trial = Trial(config=config, result=result, seconds=round(time.perf_counter() - started, 3))
            write_json(self.path(config), trial.to_json())
        finally:
            if is_main():
                with alone():  # after an error the other processes may not come here
                    remove_file(running_path)
        return read_trial_file(self.path(config), Trial)  # not `trial`: all processes have its seconds


def trial_path(folder: Path, config: TrialConfig, kind: str = "trials") -> Path:
    """The file of a finished trial in the folder of a store; of a failed or a running one with another `kind`."""
    return folder / kind / f"{config_hash(config, 16)}.json"


def _poll_until_done(configs: Iterable[TrialConfig], do: Callable[[TrialConfig], Any]) -> Iterator[Any]:
    """Yield what `do` returns for each trial; where it is None (another process runs the trial), try again later."""
    left = list(configs)
    while left:
        taken_elsewhere = []
        for config in left:
            outcome = do(config)
            if outcome is None:
                taken_elsewhere.append(config)
            else:
                yield outcome
        left = taken_elsewhere
        if left:
            time.sleep(WAIT_SECONDS)
