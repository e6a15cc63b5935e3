"""Weights & Biases: offline in `RUN/wandb` unless $WANDB_MODE says otherwise."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping

from datapruning.runs.trackers.base import LogHandle, RunInfo, import_tool

PROJECT, OFFLINE = "datapruning", "offline"


class WandbTracker:
    """See `Tracker`. $WANDB_MODE, $WANDB_PROJECT, $WANDB_ENTITY and its other variables hold; console and code stay here."""

    def start(self, story: RunInfo, log: str | None, rows: int) -> LogHandle:
        """Open the run of a name that is made up once.

        Offline, it begins again with every process, and an older folder of it goes: `wandb sync` would put one in the
        place of the other, and of a process that was killed most rows are lost.
        """
        wandb = import_tool("wandb")
        mode = os.environ.get("WANDB_MODE") or OFFLINE
        name = log or secrets.token_hex(4)
        place = story.folder / "wandb"
        for older in place.glob(f"offline-run-*-{name}"):
            shutil.rmtree(older, ignore_errors=True)
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT, id=name, name=story.name, dir=str(story.folder),
            config={table: dict(values) for table, values in story.settings.items()}, mode=mode,
            resume=None if mode == OFFLINE else "allow", settings=quiet,
        )  # fmt: skip
        if mode == OFFLINE:
            return LogHandle(name, f"{place}; wandb sync {place}/offline-*", 0)
        return LogHandle(name, str(self._run.url or mode), int(self._run.step))

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """A step an epoch."""
        self._run.log(dict(numbers), step=epoch)

    def log_result(self, epochs: int, numbers: Mapping[str, float]) -> None:
        """The run's summary."""
        self._run.summary.update(dict(numbers))

    def finish(self, finished: bool) -> None:
        """Finish the run; 1 means that it was cut short."""
        self._run.finish(exit_code=0 if finished else 1)
