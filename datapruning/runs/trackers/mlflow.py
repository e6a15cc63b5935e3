"""MLflow: files in `WORKSPACE/mlruns`, or where $MLFLOW_TRACKING_URI says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from datapruning.io.locks import exclusive_lock
from datapruning.runs.trackers.base import LogHandle, RunInfo, import_tool

EXPERIMENT, FOLDER = "datapruning", "mlruns"
MAX_BATCH_METRICS = 100
"""Parameters that MLflow takes in one call."""
FILE_STORE_VARIABLE = "MLFLOW_ALLOW_FILE_STORE"
"""Without this variable, MLflow 3 refuses to keep its runs in files."""


class MLflowTracker:
    """See `Tracker`. $MLFLOW_TRACKING_URI and $MLFLOW_EXPERIMENT_NAME hold."""

    def start(self, story: RunInfo, log: str | None, rows: int) -> LogHandle:
        """Open the run; a new one gets the settings as parameters."""
        import_tool("mlflow")
        from mlflow import entities
        from mlflow.tracking import MlflowClient

        self._entities: Any = entities
        place = story.root / FOLDER
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        with exclusive_lock(place, "another process opens MLflow's files"), _files_allowed():
            self._client: Any = MlflowClient(tracking_uri=uri or place.resolve().as_uri())
            experiment = self._experiment()
        if log is None:
            log = str(self._client.create_run(experiment, run_name=story.name).info.run_id)
            settings = [entities.Param(key, str(value)) for key, value in story.flat.items()]
            for start in range(0, len(settings), MAX_BATCH_METRICS):
                self._client.log_batch(log, params=settings[start : start + MAX_BATCH_METRICS])
        else:
            self._client.update_run(log, status="RUNNING")
        self._log = log
        return LogHandle(log, uri or str(place), rows)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """A metric each, the epoch being the step."""
        now = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, float(value), now, epoch) for name, value in numbers.items()]
        self._client.log_batch(self._log, metrics=metrics)

    def log_result(self, epochs: int, numbers: Mapping[str, float]) -> None:
        """Metrics, too, at the last epoch."""
        self.log_epoch(epochs - 1, {f"result/{name}": value for name, value in numbers.items()})

    def finish(self, finished: bool) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._log, "FINISHED" if finished else "KILLED")


@contextmanager
def _files_allowed() -> Iterator[None]:
    before = os.environ.get(FILE_STORE_VARIABLE)
    os.environ.setdefault(FILE_STORE_VARIABLE, "true")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(FILE_STORE_VARIABLE, None)
