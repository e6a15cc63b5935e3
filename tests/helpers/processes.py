"""Start, observe and kill processes."""

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


def wait_until(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait until a condition is true and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


class Command(NamedTuple):
    """A running command. Its output goes to files, because a pipe would stay open as long as jobs that it started."""

    process: subprocess.Popen[bytes]
    folder: Path

    def stderr(self) -> str:
        """Return its stderr so far."""
        return (self.folder / "stderr.txt").read_text()

    def wait(self) -> tuple[int, str, str]:
        """Wait until it ends and return exit code, stdout and stderr."""
        code = self.process.wait(300)
        return code, (self.folder / "stdout.txt").read_text(), self.stderr()


@contextmanager
def default_sigint_handler() -> Iterator[None]:
    """Within this context, started processes react to SIGINT, which a test run in the background ignores and passes on."""
    previous_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)


@contextmanager
def start_command(folder: Path, *arguments: str) -> Iterator[Command]:
    """Start the installed command in its own process group, which is killed at the end of the context."""
    output = folder / f"output-{time.monotonic_ns()}"
    output.mkdir()
    with (output / "stdout.txt").open("w") as out, (output / "stderr.txt").open("w") as err, default_sigint_handler():
        process = subprocess.Popen([COMMAND, *arguments], cwd=folder, stdout=out, stderr=err, start_new_session=True)
    try:
        yield Command(process, output)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
