"""MLflow: files in `WORKSPACE/mlruns`, or at $MLFLOW_TRACKING_URI."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from datapruning.io.locks import exclusive_lock
from datapruning.runs.trackers.base import LogHandle, RunInfo, Tracker, import_tool

EXPERIMENT, FOLDER = "datapruning", "mlruns"
MAX_BATCH_PARAMETERS = 100
"""Parameters that MLflow takes in one call."""
FILE_STORE_VARIABLE = "MLFLOW_ALLOW_FILE_STORE"
"""Variable without which MLflow 3 refuses to keep runs in files."""


class MLflowTracker(Tracker):
    """See `Tracker`. $MLFLOW_TRACKING_URI and $MLFLOW_EXPERIMENT_NAME are obeyed."""

    def start(self, run: RunInfo, log: str | None, num_epochs: int) -> LogHandle:
        """Open the run; a new one gets the settings as parameters."""
        import_tool("mlflow")
        from mlflow import entities
        from mlflow.tracking import MlflowClient

        self._entities: Any = entities
        folder = run.workspace / FOLDER
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        with exclusive_lock(folder, "another process opens the files of MLflow"), _files_allowed():
            self._client: Any = MlflowClient(tracking_uri=uri or folder.resolve().as_uri())
            experiment = self._experiment()
        if log is None:
            log = str(self._client.create_run(experiment, run_name=run.name).info.run_id)
            parameters = [entities.Param(key, str(value)) for key, value in run.parameters.items()]
            for start in range(0, len(parameters), MAX_BATCH_PARAMETERS):
                self._client.log_batch(log, params=parameters[start : start + MAX_BATCH_PARAMETERS])
        else:
            self._client.update_run(log, status="RUNNING")
        self._log = log
        return LogHandle(log, uri or str(folder), num_epochs)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self._client.create_experiment(name))

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log a metric each, the epoch being the step."""
        timestamp = int(time.time() * 1000)
        metrics = [self._entities.Metric(name, float(value), timestamp, epoch) for name, value in numbers.items()]
        self._client.log_batch(self._log, metrics=metrics)

    def finish(self, finished: bool) -> None:
        """Set the status of the run."""
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
