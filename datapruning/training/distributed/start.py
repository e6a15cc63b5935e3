"""What `dprune` does under torchrun: its processes find each other, run one program, and end together.

A thread of every process waits for word from the next one. A process that has reported an error sends it; when a process
is killed, the system closes its connections. Either way its neighbour ends and passes the word on, so all end within
moments, whatever they were waiting for.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

from datapruning.errors import DataPruningError, UserError
from datapruning.utils.console import QUIET_VARIABLE
from datapruning.utils.processes import error_prefix, set_processes

LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that torchrun sets for the processes that it starts, and scripts for other launchers do as well."""
TIMEOUT = timedelta(days=30)
"""How long processes wait for another: process 0 may wait for a lock for hours. A death is noticed at once."""
NOTICE_SECONDS, MAIN_SECONDS = 0.5, 3.0
"""How long a process with an error waits before it reports it: for word that the error came from another one; and all but
process 0 for process 0, which often has the same error."""
DONE, FAILED = 0.0, 1.0
"""The word to the process before: all have done their work, or one has failed and said so."""


def under_torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return all(name in os.environ for name in LAUNCHER_VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1


def run_together(command: Callable[[], int]) -> int:
    """Run `command` in every process; process 0 prints. Returns 0, its exit code, or ends the process with another.

    An error that `command` raises is printed in one line, any other exception with its traceback. The other processes do
    not wait for one that has an error: they end with it.
    """
    group = join()
    try:
        code = command()
    except DataPruningError as error:
        code = 2 if isinstance(error, UserError) else 1
        sys.stderr.write(f"dprune: {error_prefix(code)}{error}\n")
    except Exception:
        code = 1
        sys.stderr.write(f"dprune: {error_prefix(code)}an unexpected error\n")
        traceback.print_exc()
    if code:
        group.fail(code)
    group.close()
    return code


class Group:
    """The processes that a launcher started, connected by gloo on the CPU; see `Processes`."""

    def __init__(self) -> None:
        import torch.distributed

        dist: Any = torch.distributed
        self._dist = dist
        store, self.rank, self.size = next(dist.rendezvous("env://", timeout=timedelta(minutes=10)))
        prefix = dist.PrefixStore("datapruning", store)
        dist.init_process_group("gloo", store=prefix, rank=self.rank, world_size=self.size, timeout=TIMEOUT)
        self._ring = dist.new_group(backend="gloo", timeout=TIMEOUT)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def gather_numbers(self, number: int) -> list[int]:
        """See `Processes`."""
        import torch

        numbers = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        self._dist.all_gather(numbers, torch.tensor([number]))
        return [int(value) for value in numbers]

    def broadcast_bytes(self, content: bytes) -> bytes:
        """See `Processes`."""
        import torch

        size = torch.tensor([len(content)])
        self._dist.broadcast(size, 0)
        data = torch.frombuffer(bytearray(content.ljust(int(size))), dtype=torch.uint8)
        if self.rank:
            data = torch.empty(int(size), dtype=torch.uint8)
        self._dist.broadcast(data, 0)
        return data.numpy().tobytes()

    def await_other_errors(self) -> None:
        """See `Processes`."""
        time.sleep(MAIN_SECONDS if self.rank else NOTICE_SECONDS)

    def fail(self, code: int) -> NoReturn:
        """End this process after its error was reported, and with it the others."""
        sys.stderr.flush()
        try:
            self._send(FAILED)
        finally:
            os._exit(code)

    def _send(self, word: float) -> None:
        import torch

        self._dist.send(torch.tensor([word]), (self.rank - 1) % self.size, self._ring)

    def _watch(self) -> None:
        """End this process when the next one has ended."""
        import torch

        following, word = (self.rank + 1) % self.size, torch.tensor([FAILED])
        try:
            self._dist.recv(word, following, self._ring)
        except Exception:
            sys.stderr.write(
                f"dprune: process {following} of {self.size} has ended, by a signal or for lack of memory; the same "
                "command resumes from the last checkpoint\n"
            )
        if word.item() == FAILED:
            self.fail(1)

    def close(self) -> None:
        """Leave, when all processes have done their work: the last word to the watcher of the process before."""
        self._send(DONE)
        self._watcher.join()
        self._dist.destroy_process_group()


def join() -> Group:
    """Connect this process with the others; from now on it is one of several, and all but process 0 are silent."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    group = Group()
    set_processes(group)
    if group.rank:
        os.environ[QUIET_VARIABLE] = "1"
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return group
