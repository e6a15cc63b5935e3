"""What is seen while a sweep runs: a live table on a terminal, elsewhere a line a row. On stderr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datapruning.experiments.sweep.cost import duration
from datapruning.experiments.sweep.status import Board
from datapruning.experiments.sweep.table import accuracy_text, table
from datapruning.io.trial_store import Failure, Row
from datapruning.utils.console import console

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live


class Screen:
    """Where a sweep shows how it stands; from `shown`."""

    def __init__(self, board: Board, screen: Console, live: Live | None) -> None:
        self._board, self._console, self._live = board, screen, live

    def line(self, text: str) -> None:
        """A line, above the table where there is one."""
        self._console.print(text, markup=False)

    def update(self, news: Sequence[Row | Failure]) -> None:
        """The board was refreshed; `news` ended since."""
        for outcome in news:
            if isinstance(outcome, Failure):
                self.line(f"failed: {self._board.grid.label(outcome.config)}: {outcome.error}")
            elif self._live is None:
                label = self._board.grid.label(outcome.config)
                self.line(f"{standing(self._board)}: {label}: {accuracy_text([outcome])}% ({duration(outcome.seconds)})")
        if self._live is not None:
            self._live.update(_picture(self._board), refresh=True)


@contextmanager
def shown(board: Board) -> Iterator[Screen]:
    """A screen for as long as the block runs."""
    from rich.live import Live

    screen = console()
    if not screen.is_terminal:
        yield Screen(board, screen, None)
        return
    with Live(_picture(board), console=screen, auto_refresh=False, transient=True) as live:
        yield Screen(board, screen, live)


def standing(board: Board) -> str:
    """7 of 24 done, 2 running, about 3 min left."""
    parts = [f"{len(board.done)} of {len(board.configs)} done"]
    for count, word in ((len(board.running), "running"), (len(board.failed), "failed")):
        parts += [f"{count} {word}"] if count else []
    seconds = board.time_left()
    if board.left:
        parts.append("time left not known yet" if seconds is None else f"about {duration(seconds)} left")
    return ", ".join(parts)


def _picture(board: Board) -> RenderableType:
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head, *lines = table(board, live=True)
    picture = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for title in head:
        picture.add_column(title, no_wrap=True)
    for line in lines:
        picture.add_row(*line)
    return Group(Text(standing(board)), picture)
