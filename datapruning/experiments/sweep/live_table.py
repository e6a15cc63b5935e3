"""The display of a running sweep on stderr: a live table on a terminal, elsewhere a line a trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datapruning.experiments.sweep.status import SweepStatus
from datapruning.experiments.sweep.table import format_accuracy, make_table
from datapruning.io.trial_store import FailedTrial, Trial
from datapruning.utils.console import console
from datapruning.utils.predicted_time import format_duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live


class SweepDisplay:
    """Shows the status of a sweep; from `live_table`, or without a live table where each run shows its own progress."""

    def __init__(self, status: SweepStatus, output: Console, live: Live | None = None) -> None:
        self._status, self._console, self._live = status, output, live

    def line(self, text: str) -> None:
        """Print a line, above the table where there is one."""
        self._console.print(text, markup=False)

    def update(self, ended: Sequence[Trial | FailedTrial]) -> None:
        """Show the refreshed status; these trials ended since the last time."""
        for outcome in ended:
            label = self._status.label(outcome.config)
            if isinstance(outcome, FailedTrial):
                self.line(f"failed: {label}: {outcome.error}")
            elif self._live is None:
                duration = format_duration(outcome.seconds)
                self.line(f"{status_line(self._status)}: {label}: {format_accuracy([outcome])}% ({duration})")
        if self._live is not None:
            self._live.update(_render(self._status), refresh=True)


@contextmanager
def live_table(status: SweepStatus) -> Iterator[SweepDisplay]:
    """Show the status while the block runs."""
    from rich.live import Live

    output = console()
    if not output.is_terminal:
        yield SweepDisplay(status, output)
        return
    with Live(_render(status), console=output, auto_refresh=False, transient=True) as live:
        yield SweepDisplay(status, output, live)


def status_line(status: SweepStatus) -> str:
    """Format the status, as in "7 of 24 done, 2 running, about 3 min left"."""
    parts = [f"{len(status.done)} of {len(status.configs)} done"]
    for count, word in ((len(status.running), "running"), (len(status.failed), "failed")):
        parts += [f"{count} {word}"] if count else []
    seconds = status.time_left()
    if status.remaining:
        parts.append("time left not known yet" if seconds is None else f"about {format_duration(seconds)} left")
    return ", ".join(parts)


def _render(status: SweepStatus) -> RenderableType:
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    titles, *lines = make_table(status, live=True)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return Group(Text(status_line(status)), table)
