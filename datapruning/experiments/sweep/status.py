"""How a sweep stands: the board of its rows, with the grid that they come from."""

from __future__ import annotations

from datapruning.config.training import TrainConfig
from datapruning.experiments.sweep.cost import seconds_left
from datapruning.experiments.sweep.grid import Grid
from datapruning.experiments.workers.status import Board as Rows
from datapruning.experiments.workers.status import name_of
from datapruning.io.trial_store import Config, RowStore

__all__ = ["Board", "name_of"]


class Board(Rows):
    """Of the rows of a grid."""

    def __init__(self, store: RowStore, grid: Grid, training: TrainConfig) -> None:
        self.grid, self.training = grid, training
        super().__init__(store, grid.rows())

    def label(self, config: Config) -> str:
        """A row in words."""
        return self.grid.label(config)

    def work_left(self) -> float | None:
        """Seconds of one process, by how many samples the rows see; None: not known yet."""
        return seconds_left(self.training, self.grid, self.rows(), self.left)
