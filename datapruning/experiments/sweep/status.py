"""The status of a sweep's trials, with the grid that they come from."""

import time
from dataclasses import dataclass

from datapruning.config.training import TrainConfig
from datapruning.experiments.sweep.cost import estimate_seconds
from datapruning.experiments.sweep.grid import Grid
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.experiments.workers.status import StoreStatus, trial_name
from datapruning.io.trial_store import FailedTrial, Trial, TrialConfig, TrialStore


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

    def work_left(self) -> float | None:
        """Seconds of one process for the remaining trials, by the samples that they see; None: not known yet."""
        return estimate_seconds(self.training, self.grid, self.trials(), self.remaining_students)

    def time_left(self) -> float | None:
        """Seconds until all trials have ended, if as many as now run side by side; None: not known yet."""
        seconds = self.work_left()
        if seconds is None:
            return None
        elapsed = sum(time.time() - claim.since for claim in self.running.values())
        return max(seconds - elapsed, 0.0) / max(len(self.running), 1)
