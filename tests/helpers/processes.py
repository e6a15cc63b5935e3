"""Processes that tests start, watch and kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

COMMAND = Path(sys.executable).parent / "dprune"


def until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait until a condition holds; returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


class Command(NamedTuple):
    """A running command; its output goes to files, for jobs of this machine keep a pipe open after its end."""

    process: subprocess.Popen[bytes]
    folder: Path

    def stderr(self) -> str:
        """What it printed so far."""
        return (self.folder / "stderr.txt").read_text()

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout and stderr."""
        code = self.process.wait(300)
        return code, (self.folder / "stdout.txt").read_text(), self.stderr()


@contextmanager
def default_sigint() -> Iterator[None]:
    """While open, started processes obey SIGINT; a suite in the background ignores it, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def command(folder: Path, *words: str) -> Iterator[Command]:
    """The installed command in a process group of its own, which does not outlive the block."""
    output = folder / f"output-{time.monotonic_ns()}"
    output.mkdir()
    with (output / "stdout.txt").open("w") as out, (output / "stderr.txt").open("w") as err, default_sigint():
        process = subprocess.Popen([COMMAND, *words], cwd=folder, stdout=out, stderr=err, start_new_session=True)
    try:
        yield Command(process, output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
