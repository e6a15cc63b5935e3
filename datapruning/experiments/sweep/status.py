"""The status of a sweep's trials, with the grid that they come from."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datapruning.config.training import TrainConfig
from datapruning.experiments.sweep.grid import Grid
from datapruning.experiments.sweep.spec import AUTO, StudentSpec
from datapruning.experiments.workers.monitor import StoreStatus, trial_name
from datapruning.io.trial_store import FailedTrial, Trial, TrialConfig, TrialStore

SHARED_PHASES = ("teacher", "soft_labels")
"""Phases of a run that a later trial does not repeat."""


@dataclass(frozen=True)
class StudentRecord:
    """A student of the grid and what became of it: a finished trial, a failure, or neither yet."""

    spec: StudentSpec
    trial: Trial | None
    failure: FailedTrial | None
    running: bool


class SweepStatus(StoreStatus):
    """The status of the trials of a grid."""

    def __init__(self, store: TrialStore, grid: Grid, training: TrainConfig) -> None:
        self.grid, self.training, self.students = grid, training, grid.students()
        super().__init__(store, [spec.config for spec in self.students])

    def records(self) -> list[StudentRecord]:
        """A record of every student, in the order of the grid."""
        names = [trial_name(config) for config in self.configs]
        return [
            StudentRecord(spec, self.done.get(name), self.failed.get(name), name in self.running)
            for spec, name in zip(self.students, names, strict=True)
        ]

    @property
    def remaining_students(self) -> list[StudentSpec]:
        """Students that neither finished nor failed, running ones included."""
        return [record.spec for record in self.records() if record.trial is None and record.failure is None]

    def label(self, config: TrialConfig) -> str:
        """Describe a trial in a line."""
        return self.grid.label(StudentSpec.from_config(config))

    def time_left(self) -> float | None:
        """Seconds until all trials have ended, if as many as now run side by side; None: not known yet."""
        seconds = estimate_seconds(self.training, self.grid, self.trials(), self.remaining_students)
        if seconds is None:
            return None
        elapsed = sum(time.time() - claim.since for claim in self.running.values())
        return max(seconds - elapsed, 0.0) / max(len(self.running), 1)


def estimate_seconds(
    training: TrainConfig, grid: Grid, finished: Sequence[Trial], remaining: Sequence[StudentSpec]
) -> float | None:
    """Estimate the seconds of one process for the remaining students from the finished trials; None without any.

    The rate is the median of the seconds per sample of finished trials of the same kind: KD weight 0, given or searched,
    with the same self-distillation and pruned by the same criterion. (A process's first trial also warms it up.) A kind
    without a finished trial has the slowest rate.
    """
    rates: dict[tuple[str, ...], list[float]] = {}
    for trial in finished:
        spec = StudentSpec.from_config(trial.config)
        rates.setdefault(_kind(spec), []).append(_unshared_seconds(trial) / grid.samples_seen(training, spec))
    if not rates:
        return None
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    slowest = max(medians.values())
    return sum(medians.get(_kind(spec), slowest) * grid.samples_seen(training, spec) for spec in remaining)


def _kind(spec: StudentSpec) -> tuple[str, ...]:
    weight = "searched" if spec.kd_weight == AUTO else "given" if spec.kd_weight else "0"
    method = spec.self_distillation.method if spec.self_distillation is not None else ""
    return weight, method, spec.pruning.criterion if spec.pruning is not None else ""


def _unshared_seconds(trial: Trial) -> float:
    phases: Mapping[str, float] = trial.result.get("seconds", {})
    return max(trial.seconds - sum(phases.get(phase, 0.0) for phase in SHARED_PHASES), 0.0)
