"""Workers as jobs of a Slurm array, through submitit. They outlive the command that submits them, which finds them again.

`jobs.json` in the folder of the store names the jobs that have not ended: the next command reads it, watches those jobs,
and submits only those that are missing.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from datapruning.errors import InvalidValue, MissingPackage, first_line
from datapruning.experiments.workers.pool import WorkerExit, WorkerPool, describe_exit, worker_command
from datapruning.experiments.workers.task import Task, write_task
from datapruning.experiments.workers.worker import read_heartbeat
from datapruning.io.json import read_json, write_json
from datapruning.io.locks import file_lock
from datapruning.utils.records import Record, parse_record

if TYPE_CHECKING:
    from submitit import SlurmJob

SBATCH_OPTIONS = (
    "account", "comment", "constraint", "dependency", "exclude", "gres", "licenses", "mail-type", "mail-user", "nice",
    "nodelist", "partition", "qos", "reservation",
)  # fmt: skip
JOBS_FILE, SUBMITIT_FOLDER = "jobs.json", "slurm"
STATE_SECONDS = 15
"""Seconds between two calls of sacct, at most; submitit calls it more often for jobs that were just submitted."""
RESTARTED_STATES = ("TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
"""Final states that are no fault of a trial: another job continues it."""


class SlurmSettings(BaseModel):
    """Settings of a job; further ones are options of sbatch.

    Attributes:
        cluster: "local" runs the jobs on this machine, to try them out.
        time: minutes that a job may take.
        cpus: of a job; the launcher's default: its torch threads.
        gpus: of a job; the launcher's default: 1 if networks run on a GPU.
        memory: GB of a job.
        setup: a line of shell before the worker starts.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, str]

    cluster: Literal["slurm", "local"] = "slurm"
    time: int = Field(240, ge=1)
    cpus: int | None = Field(None, ge=1)
    gpus: int | None = Field(None, ge=0)
    memory: float | None = Field(None, gt=0)
    setup: str | None = None


OPTIONS = (*SlurmSettings.model_fields, *SBATCH_OPTIONS)


def check(values: Mapping[str, str]) -> SlurmSettings:
    """Parse settings and check that jobs can be submitted here.

    Raises:
        MissingPackage: submitit is not installed. pydantic.ValidationError: a value out of range. InvalidValue: no
        Slurm here.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        hint = "install it: pip install 'datapruning-toolkit[slurm]'"
        raise MissingPackage(f"Slurm needs submitit ({first_line(error)}); {hint}") from None
    settings = SlurmSettings.model_validate(values)
    missing = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
    if settings.cluster == "slurm" and missing:
        raise InvalidValue(f"there is no Slurm here ({missing[0]} is not found); call this where jobs are submitted")
    return settings


class JobRecord(Record):
    """A submitted job: its id (with the cluster "local" that of a process), where it was submitted, its task's hash."""

    job_id: str
    cluster: str
    task: str


class JobsFile(Record):
    """The content of `jobs.json`: how many jobs were ever submitted, and by worker name those that have not ended."""

    submitted: int = 0
    jobs: dict[str, JobRecord] = Field(default_factory=dict)


class SlurmJobs(WorkerPool):
    """The jobs of one store."""

    handles: dict[str, SlurmJob[str]]

    def __init__(self, num_workers: int, folder: Path, info: Callable[[str], None], settings: SlurmSettings) -> None:
        from submitit import AutoExecutor, SlurmJob
        from submitit.slurm.slurm import SlurmInfoWatcher

        super().__init__(num_workers, folder, info)
        self.lock = file_lock(folder / JOBS_FILE)
        self._cluster = settings.cluster
        submitit_folder = folder.resolve() / SUBMITIT_FOLDER
        watched = type("WatchedJob", (SlurmJob,), {"watcher": SlurmInfoWatcher(delay_s=STATE_SECONDS)})
        self._open_job: Callable[[str], SlurmJob[str]] = lambda job_id: watched(submitit_folder, job_id)
        self._executor = AutoExecutor(submitit_folder, cluster=settings.cluster)
        setup = None if settings.setup is None else [settings.setup]
        parameters = {
            "name": "dprune", "timeout_min": settings.time, "nodes": 1, "tasks_per_node": 1,
            "cpus_per_task": settings.cpus, "gpus_per_node": settings.gpus, "mem_gb": settings.memory,
            "slurm_setup": setup, "local_setup": setup, "slurm_additional_parameters": settings.model_extra or None,
            "slurm_signal_delay_s": 0,  # no warning: submitit would end the job early, and Slurm not report a timeout
        }  # fmt: skip
        self._executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})

    def _read(self) -> JobsFile:
        path = self.folder / JOBS_FILE
        return parse_record(JobsFile, read_json(path), str(path)) if path.exists() else JobsFile()

    def _write(self, submitted: int, jobs: Mapping[str, JobRecord]) -> None:
        write_json(self.folder / JOBS_FILE, JobsFile(submitted=submitted, jobs=dict(jobs)).to_json())

    def submit(self, task: Task) -> None:
        """Find the jobs of an earlier command, and submit those that are missing."""
        self.task_path = write_task(self.folder, task)
        with self.lock:
            for name in self.names():
                if self.poll(name) is not None:
                    self.remove(name)
            jobs = self._read().jobs
            if jobs:
                self.info(f"{_count(jobs)} of an earlier call at work: {', '.join(job.job_id for job in jobs.values())}")
            self.start(max(self.num_workers - len(jobs), 0))

    def start(self, count: int) -> None:
        """Submit an array of `count` jobs.

        Raises:
            InvalidValue: sbatch refuses it.
        """
        from submitit.core.utils import CommandFunction, FailedJobError, FailedSubmissionError

        if not count:
            return
        with self.lock, _block_sigint():
            old = self._read()
            names = [f"slurm-{old.submitted + k + 1}" for k in range(count)]
            commands = [CommandFunction(worker_command(self.task_path, name), verbose=False) for name in names]
            try:
                job_ids = [job.job_id for job in self._executor.submit_array(commands)]
            except (FailedJobError, FailedSubmissionError, OSError) as error:
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                raise InvalidValue(f"sbatch refuses the jobs: {lines[-1] if lines else type(error).__name__}") from None
            records = [JobRecord(job_id=job_id, cluster=self._cluster, task=self.task_path.stem) for job_id in job_ids]
            self._write(old.submitted + count, old.jobs | dict(zip(names, records, strict=True)))
        self.info(f"{_count(names)} submitted: {', '.join(job_ids)}")

    def names(self) -> list[str]:
        """The jobs that the file has."""
        return list(self._read().jobs)

    def remove(self, name: str) -> None:
        """Forget a job, in the file as well."""
        old = self._read()
        self._write(old.submitted, {key: job for key, job in old.jobs.items() if key != name})
        super().remove(name)

    def poll(self, name: str) -> WorkerExit | None:
        """Return how a job ended, from its worker's record, or, if the worker was killed, from Slurm."""
        record = self._read().jobs[name]
        state = self._final_state(name, record)  # asked first: a worker that ends in between has written its exit code
        heartbeat = read_heartbeat(self.folder, name)
        if heartbeat is not None and heartbeat.exit_code is not None:
            message = describe_exit(heartbeat.exit_code)
            return WorkerExit(message, restart=not message and record.task != self.task_path.stem)
        if state is None:
            return None
        restart = state in RESTARTED_STATES
        return WorkerExit(f"was ended ({state})", restart, blame_trial=not restart and state != "CANCELLED")

    def _final_state(self, name: str, record: JobRecord) -> str | None:
        """Slurm's state of a job that has ended; None: it has not, as far as is known."""
        if record.cluster == "local":
            with suppress(OSError):  # the number may be another process's by now
                if b"submitit" in Path(f"/proc/{record.job_id}/cmdline").read_bytes():
                    return None
            return "FAILED"
        job = self.handles.setdefault(name, self._open_job(record.job_id))
        ended = job.done()
        state = job.state.split(" ")[0]
        return state if ended or state == "PREEMPTED" else None

    def close(self, finished: bool) -> None:
        """Leave running jobs and report them; cancel queued ones if no trial is left for them."""
        if finished:
            with self.lock:
                for name, record in self._read().jobs.items():
                    if record.task == self.task_path.stem:
                        if record.cluster == "slurm" and read_heartbeat(self.folder, name) is None:
                            self._open_job(record.job_id).cancel(check=False)
                        self.remove(name)
        jobs = self._read().jobs
        if jobs:
            command = "kill" if self._cluster == "local" else "scancel"
            arrays = dict.fromkeys(job.job_id.partition("_")[0] for job in jobs.values())
            self.info(f"{_count(jobs)} running and continue without this command; the same command monitors them again")
            self.info(f"to end them: {command} {' '.join(arrays)}")


def _count(jobs: Sized) -> str:
    return f"{len(jobs)} job is" if len(jobs) == 1 else f"{len(jobs)} jobs are"


@contextmanager
def _block_sigint() -> Iterator[None]:
    """Ignore Ctrl-C until the jobs are in the file. Jobs that run on this machine inherit that, and never see it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
