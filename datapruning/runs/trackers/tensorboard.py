"""TensorBoard: event files in `RUN/tensorboard`."""

from collections.abc import Mapping
from typing import Any

from datapruning.runs.trackers.base import LogHandle, RunInfo, Tracker

FOLDER = "tensorboard"


class TensorBoardTracker(Tracker):
    """See `Tracker`. Each process writes a new file, with the epoch from which it replaces others (`purge_step`)."""

    def start(self, run: RunInfo, log: str | None, num_epochs: int) -> LogHandle:
        """Open a new event file; the first one holds config.toml as a text."""
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import

        folder = run.folder / FOLDER
        writer_class: Any = SummaryWriter  # it has no types
        self._writer = writer_class(str(folder), purge_step=num_epochs or None)
        if log is None:
            self._writer.add_text("config", f"```toml\n{run.config}\n```")
            self._writer.flush()
        return LogHandle(FOLDER, f"{folder}; tensorboard --logdir {run.folder.parent}", num_epochs)

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log a scalar each."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def finish(self, finished: bool) -> None:
        """Close the file."""
        self._writer.close()
