"""Weights & Biases: offline in `RUN/wandb` unless $WANDB_MODE says otherwise."""

import os
import secrets
import shutil
from collections.abc import Mapping

from datapruning.runs.trackers.base import LogHandle, RunInfo, Tracker, import_tool

PROJECT, OFFLINE = "datapruning", "offline"


class WandbTracker(Tracker):
    """See `Tracker`. $WANDB_MODE, $WANDB_PROJECT, $WANDB_ENTITY and others are obeyed; console and code are not sent."""

    def start(self, run: RunInfo, log: str | None, num_epochs: int) -> LogHandle:
        """Open the run under a random id that is drawn once.

        Offline, each process logs all epochs again and removes the folder of the one before: `wandb sync` would replace
        one by the other, and a process that was killed loses most epochs.
        """
        wandb = import_tool("wandb")
        mode = os.environ.get("WANDB_MODE") or OFFLINE
        name = log or secrets.token_hex(4)
        folder = run.folder / "wandb"
        for older in folder.glob(f"offline-run-*-{name}"):
            shutil.rmtree(older, ignore_errors=True)
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, id=name, name=run.name, dir=str(run.folder),
            config={table: dict(values) for table, values in run.settings.items()}, mode=mode,
            resume=None if mode == OFFLINE else "allow", settings=quiet,
        )  # fmt: skip
        if mode == OFFLINE:
            return LogHandle(name, f"{folder}; wandb sync {folder}/offline-*", 0)
        return LogHandle(name, str(self._run.url or mode), int(self._run.step))

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log one step an epoch."""
        self._run.log(dict(numbers), step=epoch)

    def log_result(self, epochs: int, numbers: Mapping[str, float]) -> None:
        """Set the summary of the run."""
        self._run.summary.update(dict(numbers))

    def finish(self, finished: bool) -> None:
        """Finish the run; exit code 1 means that it was stopped early."""
        self._run.finish(exit_code=0 if finished else 1)
