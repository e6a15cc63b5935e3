"""How long a command will take: said once, before the first training or soft label that it computes."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from datapruning.utils.console import console, is_quiet
from datapruning.utils.processes import agree, is_main
from datapruning.utils.system import available_cpus

Seconds = Mapping[str, float]
"""The seconds of each part of the work that is left, by its name; 0: nothing is left of it."""
BUSY_LOAD = 1.5
"""A machine is busy where the load of the last minute is so many times the cores."""
_PENDING: ContextVar[list[Callable[[], Seconds]] | None] = ContextVar("pending", default=None)


@contextmanager
def predict_time(estimate: Callable[[], Seconds]) -> Iterator[None]:
    """While the block runs, the first work of a longer kind (`announce_time`) prints what `estimate` returns.

    Of blocks in one another the outermost counts. Quiet ones print nothing.
    """
    if _PENDING.get() is not None or agree(is_quiet()):
        yield
        return
    token = _PENDING.set([estimate])
    try:
        yield
    finally:
        _PENDING.reset(token)


def announce_time() -> None:
    """Print how long the command will take, unless that has been said; and where the machine is busy, that it is."""
    pending = _PENDING.get()
    if not pending:
        return
    parts = {name: seconds for name, seconds in pending.pop()().items() if seconds > 0}  # what is measured trains, too
    if not parts or not is_main():
        return
    details = ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in parts.items())
    print_line = console().print
    print_line(
        f"time: about {format_duration(sum(parts.values()))}{f' ({details})' if len(parts) > 1 else ''}", markup=False
    )
    load, cores = _load(), available_cpus()
    if load > BUSY_LOAD * cores:
        print_line(
            f"warning: other programs keep this machine busy (a load of {load:.1f}, {cores} core{'s' * (cores > 1)}): it "
            "may take longer, most of all with several threads",
            markup=False,
        )


def format_duration(seconds: float) -> str:
    """Format 75 as "75 s", 200 as "3 min" and 7300 as "2 h 2 min"."""
    if round(seconds) < 120:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _load() -> float:
    """The load of the last minute; 0 where the system does not count it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0
