"""What the user sees while something runs: plain lines and progress bars, on stderr, so that stdout stays clean."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from datapruning.errors import escape_control_chars

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
QUIET_VARIABLE = "DPRUNE_QUIET"


def console() -> "Console":
    """A console on stderr. `DPRUNE_QUIET=1` silences it."""
    from rich.console import Console

    return Console(stderr=True, quiet=os.environ.get(QUIET_VARIABLE) == "1", highlight=False, soft_wrap=True)


_QUIET: ContextVar[bool] = ContextVar("hushed", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the single steps of a longer story quiet; progress bars still show."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


def is_quiet() -> bool:
    """Whether single steps are not shown."""
    return _QUIET.get() or os.environ.get(QUIET_VARIABLE) == "1"


def info(line: str) -> None:
    """One line to the user."""
    if not is_quiet():
        console().print(escape_control_chars(line), markup=False)


def progress(items: Sequence[Item], label: str) -> Iterable[Item]:
    """Iterate with a bar; silent where stderr is no terminal."""
    from rich.progress import track

    screen = console()
    return track(items, description=label, console=screen, transient=True, disable=not screen.is_terminal)


class ProgressBar:
    """A bar that is moved by hand: `advance()` after each step."""

    def __init__(self, label: str, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        screen = console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
        self._task = self._progress.add_task(label, total=total)

    def advance(self, count: int = 1) -> None:
        """Move on by `count` steps."""
        self._progress.advance(self._task, count)

    def move_to(self, position: int) -> None:
        """Show that so many steps are done."""
        self._progress.update(self._task, completed=position)

    @classmethod
    @contextmanager
    def open(cls, label: str, total: int) -> Iterator["ProgressBar"]:
        """A bar that is shown while the block runs."""
        bar = cls(label, total)
        with bar._progress:
            yield bar
