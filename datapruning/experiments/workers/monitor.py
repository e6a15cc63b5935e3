"""Watching workers until no row is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from datapruning.errors import DataPruningError
from datapruning.experiments.workers.status import Board
from datapruning.experiments.workers.workers import Workers
from datapruning.io.trial_store import Failure, Row

POLL_SECONDS = 0.5


class Screen(Protocol):
    """Where it is shown how rows stand."""

    def line(self, text: str) -> None:
        """A line."""

    def update(self, news: Sequence[Row | Failure]) -> None:
        """The board was refreshed; `news` ended since."""


def watch(board: Board, workers: Workers, screen: Screen) -> None:
    """Until every row has ended.

    Raises:
        DataPruningError: all workers have ended before.
    """
    workers.tell = screen.line
    while True:
        screen.update(board.refresh())
        if not board.left:
            return
        if not workers.tend(board):
            board.refresh()
            if board.left:
                raise DataPruningError(
                    f"no worker is left, {len(board.left)} rows are not done; the same command goes on where it was"
                )
        time.sleep(POLL_SECONDS)
