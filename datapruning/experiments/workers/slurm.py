"""Workers as jobs of a Slurm array, through submitit. They outlive the command that submits them; it can find them again.

`jobs.json` in the folder of the store is the book of all that are at work there: whoever calls next reads it, watches
those, and submits only what is missing.
"""

from __future__ import annotations

import importlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidValue, MissingPackage, UnknownName, first_line
from datapruning.experiments.workers.jobs import command_of, forget, heard_of, number, process_of, whole, write_task
from datapruning.experiments.workers.local import A_MOMENT, ended
from datapruning.experiments.workers.status import Board
from datapruning.experiments.workers.task import Task
from datapruning.experiments.workers.workers import Ending, Process, Workers
from datapruning.io.json import read_json, write_json
from datapruning.io.locks import lock_of

OWN = ("cluster", "time", "cpus", "gpus", "memory", "setup")
OF_SBATCH = (
    "account", "comment", "constraint", "dependency", "exclude", "gres", "licenses", "mail-type", "mail-user", "nice",
    "nodelist", "partition", "qos", "reservation",
)  # fmt: skip
MINUTES = 240
BOOK, FOLDER = "jobs.json", "slurm"
ASK_SECONDS = 15.0
AGAIN = ("TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
"""Ends that are no fault of a row: another job goes on."""


def check_slurm(settings: Mapping[str, str]) -> None:
    """Refuse what cannot be, before anything is written.

    Raises:
        MissingPackage: submitit is not installed. UnknownName, InvalidValue: a setting that cannot be, or no Slurm here.
    """
    try:
        importlib.import_module("submitit")
    except ImportError as error:
        raise MissingPackage(
            f"--launcher slurm needs submitit ({first_line(error)}); install it: pip install 'datapruning-toolkit[slurm]'"
        ) from None
    for key in settings:
        if key not in (*OWN, *OF_SBATCH):
            raise UnknownName("setting of --launcher slurm", key, (*OWN, *OF_SBATCH))
    cluster = settings.get("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise InvalidValue(f"--launcher-set cluster={cluster}: slurm, or local to try it out on this machine")
    parameters_of(settings, cpus=1, gpus=0)
    missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
    if cluster == "slurm" and missing:
        raise InvalidValue(f"there is no Slurm here ({missing[0]} is not found); call this where jobs are submitted")


def parameters_of(settings: Mapping[str, str], cpus: int, gpus: int) -> dict[str, Any]:
    """What submitit's AutoExecutor is told.

    Args:
        settings: of `--launcher-set`.
        cpus: of each job, where they do not say.
        gpus: likewise.

    Raises:
        InvalidValue: a number that is none.
    """
    found: dict[str, Any] = {
        "name": "dprune", "timeout_min": max(whole(settings, "time", MINUTES), 1), "nodes": 1, "tasks_per_node": 1,
        "cpus_per_task": max(whole(settings, "cpus", cpus), 1), "gpus_per_node": whole(settings, "gpus", gpus),
        "slurm_signal_delay_s": 0,  # no warning: submitit would end the job early, and Slurm not say that its time was up
    }  # fmt: skip
    if "memory" in settings:
        found["mem_gb"] = number(settings, "memory", 0)
    if "setup" in settings:
        found |= {f"{cluster}_setup": [settings["setup"]] for cluster in ("slurm", "local")}
    more = {key: value for key, value in settings.items() if key in OF_SBATCH}
    return found | ({"slurm_additional_parameters": more} if more else {})


class SlurmJobs(Workers):
    """The jobs of one store.

    Args:
        jobs: how many are to be at work at once.
        folder: of the store.
        tell: gets a line for people.
        settings: checked.
        cpus: of each job, where the settings do not say.
        gpus: likewise.
    """

    def __init__(
        self, jobs: int, folder: Path, tell: Callable[[str], None], settings: Mapping[str, str], cpus: int, gpus: int
    ) -> None:
        super().__init__(jobs, folder, tell)
        self._submitit = importlib.import_module("submitit")
        self._cluster = settings.get("cluster", "slurm")
        self._parameters = parameters_of(settings, cpus, gpus)
        self._lock = lock_of(folder / BOOK)
        self._task = Path()
        self._known: dict[str, Any] = {}
        self._asked = 0.0

    def _book(self) -> dict[str, Any]:
        path = self.folder / BOOK
        return read_json(path) if path.exists() else {"submitted": 0, "jobs": {}}

    def go(self, task: Task) -> None:
        """Find the jobs of an earlier call, and submit those that are missing."""
        self._task = write_task(self.folder, task)
        with self._lock:
            for name in self.names():
                if self.ending(name) is not None:
                    self.drop(name)
            there = self.names()
            if there:
                self.tell(f"{_count(there)} of an earlier call at work: {', '.join(self._ids(there))}")
            self.start(max(self.jobs - len(there), 0))

    def start(self, count: int) -> None:
        """Submit an array of so many jobs.

        Raises:
            InvalidValue: sbatch refuses it.
        """
        if not count:
            return
        with self._lock, _uninterrupted():
            book = self._book()
            names = [f"slurm-{book['submitted'] + k + 1}" for k in range(count)]
            jobs = self._submit([command_of(self._task, name) for name in names])
            self._known |= dict(zip(names, jobs, strict=True))
            book["submitted"] += count
            about = {"cluster": self._cluster, "task": self._task.stem}
            book["jobs"] |= {name: {"id": job.job_id, **about} for name, job in zip(names, jobs, strict=True)}
            write_json(self.folder / BOOK, book)
        self.tell(f"{_count(names)} submitted: {', '.join(self._ids(names))}")

    def _submit(self, commands: Sequence[list[str]]) -> list[Any]:
        tools = importlib.import_module("submitit.core.utils")
        executor = self._submitit.AutoExecutor(self.folder.resolve() / FOLDER, cluster=self._cluster)
        executor.update_parameters(**self._parameters)
        try:
            return list(executor.submit_array([tools.CommandFunction(words, verbose=False) for words in commands]))
        except (tools.FailedJobError, tools.FailedSubmissionError, OSError) as error:
            said = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise InvalidValue(f"sbatch refuses the jobs: {said[-1] if said else type(error).__name__}") from None

    def tend(self, board: Board) -> bool:
        """See who died, as one of the callers that watch these jobs."""
        with self._lock:
            return super().tend(board)

    def names(self) -> list[str]:
        """slurm-1, slurm-2, ... as the book has them."""
        return list(self._book()["jobs"])

    def process(self, name: str) -> Process | None:
        """As it said itself."""
        return process_of(self.folder, name)

    def drop(self, name: str) -> None:
        """Strike it out."""
        book = self._book()
        book["jobs"].pop(name, None)
        write_json(self.folder / BOOK, book)
        forget(self.folder, name)
        self._known.pop(name, None)

    def ending(self, name: str) -> Ending | None:
        """As the worker says it; where it cannot any more, as Slurm does."""
        entry = self._book()["jobs"][name]
        if (said := self._said(name, entry)) is not None:
            return said
        if entry["cluster"] == "local":
            # what it said in between comes first
            return None if self._lives(name, int(entry["id"])) else self._said(name, entry) or Ending("was ended")
        job = self._known.setdefault(name, self._submitit.SlurmJob(self.folder.resolve() / FOLDER, entry["id"]))
        if time.monotonic() > self._asked + ASK_SECONDS:
            self._asked = time.monotonic()
            job.get_info(mode="force")  # of all jobs at once
        if not job.done():
            return None
        if (said := self._said(name, entry)) is not None:  # in between
            return said
        state = str(job.state).split(" ")[0]
        taken = state in AGAIN
        return Ending(f"was ended by Slurm ({state})", again=taken, blames=not taken and state != "CANCELLED")

    def _said(self, name: str, entry: dict[str, Any]) -> Ending | None:
        """The ending of a worker that could still say it."""
        who = heard_of(self.folder, name)
        if who is None or "exit" not in who:
            return None
        words = ended(int(who["exit"]))
        return Ending(words, again=not words and entry["task"] != self._task.stem)

    def _lives(self, name: str, pid: int) -> bool:
        if name in self._known:
            return not self._known[name].done()
        with suppress(OSError):
            return b"submitit" in Path(f"/proc/{pid}/cmdline").read_bytes()  # the number may be another process's by now
        return False

    def _ids(self, names: Sequence[str]) -> list[str]:
        jobs = self._book()["jobs"]
        return [jobs[name]["id"] for name in names]

    def wait(self) -> None:
        """For a moment; then jobs that still wait in Slurm's queue are cancelled: no row is left for them."""
        until = time.monotonic() + A_MOMENT
        mine = [name for name, entry in self._book()["jobs"].items() if entry["task"] == self._task.stem]
        while mine and time.monotonic() < until:
            time.sleep(0.1)
            mine = [name for name in mine if "exit" not in (heard_of(self.folder, name) or {})]
        with self._lock:
            for name in mine:
                if self._cluster == "slurm" and name in self._known:
                    self._known[name].cancel(check=False)
            for name, entry in self._book()["jobs"].items():
                if entry["task"] == self._task.stem:
                    self.drop(name)

    def stop(self) -> None:
        """Leave those at work that are; say so."""
        names = self.names()
        if names:
            ids = self._ids(names)
            ends = "kill" if self._cluster == "local" else "scancel"
            whole_arrays = list(dict.fromkeys(each.partition("_")[0] for each in ids))
            self.tell(f"{_count(names)} at work and go on without this command: the same command watches them again")
            self.tell(f"to end them: {ends} {' '.join(whole_arrays)}")


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} job is" if len(names) == 1 else f"{len(names)} jobs are"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the jobs are in the book; such as run on this machine never see it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
