"""Watching trials and their workers: one that dies in a trial is replaced, and a trial in which two die has failed."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from datapruning.errors import DataPruningError
from datapruning.experiments.workers.pool import WorkerExit, WorkerPool
from datapruning.experiments.workers.worker import Process, log_path
from datapruning.io.trial_store import FailedTrial, RunningTrial, Trial, TrialConfig, TrialStore
from datapruning.utils.hashing import config_hash
from datapruning.utils.plural import plural

POLL_SECONDS = 0.5
MAX_DEATHS = 2
"""Workers that may die in a trial until it has failed: one death can have any reason, two are the trial's."""
LOCK_SECONDS = 120.0
"""Seconds that the lock of a trial may be free while its worker lives; after that, locks do not reach this machine."""


def trial_name(config: TrialConfig) -> str:
    """A trial's name in this package and in file names: the hash of its configuration."""
    return config_hash(config, 16)


class StoreStatus:
    """The status of some trials of a store, by name: done, failed, running, or died and not taken over yet.

    Whichever process on whichever machine runs them; `refresh()` brings it up to date.
    """

    def __init__(self, store: TrialStore, configs: Sequence[TrialConfig]) -> None:
        self.store, self.configs = store, [dict(config) for config in configs]
        self.done: dict[str, Trial] = {}
        self.failed: dict[str, FailedTrial] = {}
        self.running: dict[str, RunningTrial] = {}
        self.died: dict[str, RunningTrial] = {}
        self.refresh()

    def label(self, config: TrialConfig) -> str:
        """A trial's settings as text."""
        return ", ".join(f"{key} {value}" for key, value in config.items())

    def refresh(self) -> list[Trial | FailedTrial]:
        """Read the store again. Returns the trials that ended since the last time, in order."""
        news: list[Trial | FailedTrial] = []
        self.running, self.died = {}, {}
        for config in self.remaining:
            name = trial_name(config)
            if trial := self.store.get(config):
                self.done[name] = trial
                news.append(trial)
            elif failure := self.store.failure(config):
                self.failed[name] = failure
                news.append(failure)
            elif running := self.store.running_trial(config):
                (self.running if running.alive else self.died)[name] = running
        return news

    @property
    def remaining(self) -> list[TrialConfig]:
        """Trials that have not ended, running ones included."""
        return [c for c in self.configs if trial_name(c) not in self.done and trial_name(c) not in self.failed]

    def trials(self) -> list[Trial]:
        """Finished trials, in order."""
        return [self.done[trial_name(c)] for c in self.configs if trial_name(c) in self.done]

    def failures(self) -> list[FailedTrial]:
        """Failed trials, in order."""
        return [self.failed[trial_name(c)] for c in self.configs if trial_name(c) in self.failed]

    def clear_failures(self) -> int:
        """Let the failed trials be tried again; returns how many there were."""
        for failure in self.failed.values():
            self.store.clear_failure(failure.config)
        count = len(self.failed)
        self.failed = {}
        return count


def watch(status: StoreStatus, pool: WorkerPool, update: Callable[[Sequence[Trial | FailedTrial]], None]) -> None:
    """Watch the workers of a pool until every trial has ended; `update` is given those that ended since the last time.

    Raises:
        DataPruningError: all workers have ended before.
    """
    monitor = Monitor(status, pool)
    update(status.refresh())
    while status.remaining:
        with pool.lock:
            alive = monitor.check_workers()
        if alive:
            time.sleep(POLL_SECONDS)
        update(status.refresh())
        if not alive and status.remaining:
            raise DataPruningError(
                f"no worker is left, {plural(len(status.remaining), 'trial is', 'trials are')} not done; "
                "the same command resumes"
            )


class Monitor:
    """Notices which workers ended, and why.

    A worker that died in a trial is replaced, and the trial is taken over. One that died outside any trial is not
    replaced: another one would die as well.
    """

    def __init__(self, status: StoreStatus, pool: WorkerPool) -> None:
        self._status, self._pool = status, pool
        self._deaths: Counter[str] = Counter()
        self._last_trial: dict[Process, TrialConfig] = {}
        self._lock_free_since: dict[Process, float] = {}

    def check_workers(self) -> bool:
        """Report and replace the workers that ended. Returns whether any is left."""
        for config in self._status.remaining:
            if (claim := self._status.running.get(trial_name(config))) is not None:
                self._last_trial[claim.host, claim.pid] = config
        for name in self._pool.names():
            worker_exit = self._pool.poll(name)
            process = self._pool.process(name)
            if worker_exit is None:
                self._check_locks(name, process)
                continue
            trial = self._interrupted_trial(process) if worker_exit.message else None
            self._pool.remove(name)
            if trial is not None:
                self._record_death(trial, name, worker_exit)
            elif worker_exit.message:
                consequence = "; another begins" if worker_exit.restart else f": {self._last_log_line(name)}"
                self._pool.info(f"{_display_name(name)} {worker_exit.message}{consequence}")
            if trial is not None or worker_exit.restart:
                self._pool.start(1)
        return bool(self._pool.names())

    def _interrupted_trial(self, process: Process | None) -> TrialConfig | None:
        """The trial that a process died in: its claim is there still, or it had one and another process has taken over."""
        store, remaining = self._status.store, self._status.remaining
        for config in remaining:
            claim = store.running_trial(config)
            if claim is not None and (claim.host, claim.pid) == process and not claim.alive:
                return config
        last = self._last_trial.get(process) if process is not None else None
        return last if last in remaining and store.get(last) is None else None

    def _record_death(self, config: TrialConfig, name: str, worker_exit: WorkerExit) -> None:
        store, trial = self._status.store, trial_name(config)
        self._deaths[trial] += worker_exit.blame_trial
        claim = store.running_trial(config)
        taken_over = claim is not None and claim.alive
        if worker_exit.blame_trial and self._deaths[trial] >= MAX_DEATHS and not taken_over:
            error = f"its process {worker_exit.message}, and so did another one in it before (out of memory?)"
            store.record_failure(config, error)
        else:
            label = self._status.label(config)
            self._pool.info(f"{_display_name(name)} {worker_exit.message} in {label}; another takes the trial over")

    def _check_locks(self, name: str, process: Process | None) -> None:
        """Warn once if a worker that lives seems to have died: without common locks, two may run the same trial."""
        if process is None or process not in [(claim.host, claim.pid) for claim in self._status.died.values()]:
            return
        since = self._lock_free_since.setdefault(process, time.monotonic())
        if since and time.monotonic() - since > LOCK_SECONDS:
            self._lock_free_since[process] = 0.0
            self._pool.info(
                f"{_display_name(name)} on {process[0]} runs a trial, but its lock in {self._pool.folder} is not seen here: "
                "on this file system, locks do not reach from machine to machine (docs/launchers.md)"
            )

    def _last_log_line(self, name: str) -> str:
        """The last line that a worker printed, and where the others are."""
        log = log_path(self._pool.folder, name)
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return f"{last} (full log: {log})"


def _display_name(name: str) -> str:
    return name.replace("-", " ", 1)
