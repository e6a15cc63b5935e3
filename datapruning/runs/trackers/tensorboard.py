"""TensorBoard: event files in `RUN/tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datapruning.runs.trackers.base import LogHandle, RunInfo

FOLDER = "tensorboard"


class TensorBoardTracker:
    """See `Tracker`. Every process writes a file of its own, which says what it replaces (`purge_step`)."""

    def start(self, story: RunInfo, log: str | None, rows: int) -> LogHandle:
        """Open another event file; the first one holds config.toml as a text."""
        from torch.utils.tensorboard import SummaryWriter  # imports for seconds

        place = story.folder / FOLDER
        new: Any = SummaryWriter  # it has no types
        self._writer = new(str(place), purge_step=rows or None)
        if log is None:
            self._writer.add_text("config", f"```toml\n{story.text}\n```")
            self._writer.flush()
        return LogHandle(FOLDER, f"{place}; tensorboard --logdir {story.folder.parent}", rows)

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """A scalar each."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def log_result(self, epochs: int, numbers: Mapping[str, float]) -> None:
        """Scalars, too, at the last epoch."""
        self.log_epoch(epochs - 1, {f"result/{name}": value for name, value in numbers.items()})

    def finish(self, finished: bool) -> None:
        """Close the file."""
        self._writer.close()
