"""Launchers: their settings, and workers that die, time out or are cancelled, local ones and on a fake Slurm."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, InvalidValue
from datapruning.experiments.workers import monitor, pool, slurm
from datapruning.experiments.workers.launcher import Launcher, find_launcher, open_worker_context
from datapruning.experiments.workers.monitor import Monitor, StoreStatus, watch
from datapruning.experiments.workers.pool import LocalWorkers
from datapruning.experiments.workers.ray_tasks import RaySettings
from datapruning.experiments.workers.slurm import SlurmJobs, SlurmSettings
from datapruning.experiments.workers.task import Task, record_context
from datapruning.io.json import read_json, write_json
from datapruning.io.trial_store import FailedTrial, Trial, TrialStore
from datapruning.runs.context import Context
from tests.experiments.sweep.test_sweep import FAST
from tests.helpers import fake_slurm
from tests.helpers.processes import wait_until

MakeContext = Callable[..., Context]

# Settings ----------------------------------------------------------------------------------------------------------------

BAD = [
    (["--launcher", "slum"], "unknown launcher 'slum': did you mean 'slurm'?"),
    (["--launcher-set", "time=5"], "launcher settings are for slurm and ray"),
    (["--launcher", "slurm"], "there is no Slurm here (sbatch is not found)"),
    (["--launcher", "slurm", "--launcher-set", "time"], "a launcher setting is key=value"),
    (["--launcher", "slurm", "--launcher-set", "partitoin=x"], "did you mean 'partition'?"),
    (["--launcher", "slurm", "--launcher-set", "cluster=pbs"], "'cluster' is 'pbs', but it should be 'slurm' or 'local'"),
    (["--launcher", "slurm", "--launcher-set", "time=soon"], "'time' is 'soon', but it should be a valid integer"),
    (["--launcher", "slurm", "--launcher-set", "cpus=1.5"], "'cpus' is '1.5', but it should be a valid integer"),
    (["--launcher", "ray", "--launcher-set", "cpu=1"], "did you mean 'cpus'?"),
    (["--launcher", "ray", "--launcher-set", "gpus=-1"], "'gpus' is '-1', but it should be greater than or equal to 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: "-".join(v) if isinstance(v, list) else "")
def test_invalid_input_is_one_line_and_writes_no_file(
    expect_refusal: Callable[..., str], arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert message in expect_refusal("sweep", *FAST, *arguments)
    assert message in expect_refusal("score", "--scorer", "memorization", *FAST, *arguments)


def test_a_missing_package_is_named_with_its_extra(
    expect_refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'datapruning-toolkit[slurm]'" in expect_refusal("sweep", *FAST, "--launcher", "slurm")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find_spec(name, *more))
    assert "pip install 'datapruning-toolkit[ray]'" in expect_refusal("sweep", *FAST, "--launcher", "ray")


def test_workers_of_a_score_need_members_to_train(expect_refusal: Callable[..., str]) -> None:
    assert "el2n, aum read none" in expect_refusal("score", "--scorer", "el2n,aum", "--jobs", "2", *FAST)
    assert "at least 1 worker is needed, got 0 (--jobs)" in expect_refusal(
        "score", "--scorer", "memorization", "--jobs", "0", *FAST
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_training_by_the_command_needs_a_local_device(expect_refusal: Callable[..., str]) -> None:
    arguments = ["score", "--scorer", "memorization,el2n", "--launcher", "ray", *FAST, "--device", "cuda"]
    assert "el2n: their proxies are trained by this command, and there is no GPU here" in expect_refusal(*arguments)


def test_only_the_workers_need_a_gpu(tmp_path: Path) -> None:
    def resolved(launcher: Launcher, device: str) -> tuple[str, str]:
        context = open_worker_context(
            "digits", launcher, device=device, loader="memory", workspace=tmp_path / "runs", threads=1
        )
        return str(context.device), context.loader_kind

    assert resolved(Launcher(SlurmSettings(gpus=1)), "auto") == ("cuda", "memory"), "a GPU for each job is meant then"
    assert resolved(Launcher(RaySettings()), "cuda") == ("cuda", "memory")
    assert resolved(Launcher(RaySettings()), "cpu") == ("cpu", "memory")
    assert find_launcher("local").resolve_device("auto") == "auto"


# Small scripts as workers ------------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys, time
sys.path.append(sys.argv[1])
from pathlib import Path
from datapruning.experiments.workers.worker import Heartbeat, heartbeat_path
from datapruning.io.json import read_json, write_json
from datapruning.io.trial_store import TrialStore
task, name = read_json(Path(sys.argv[3])), sys.argv[4]
folder = Path(task["store"])
heartbeat = Heartbeat()
write_json(heartbeat_path(folder, name), heartbeat.to_json())
def work(config):
    if "kills" in config:
        os.kill(os.getpid(), 9)
    while not (folder / "go").exists():
        time.sleep(0.05)
    return {"by": name}
list(TrialStore(folder, task["about"]).run_remaining(task["trials"], work))
write_json(heartbeat_path(folder, name), {**heartbeat.to_json(), "exit_code": 0})
"""


class Case:
    """A store of trials and the output while workers run them; they wait for a file `go` in its folder."""

    def __init__(self, context: Context, folder: Path, trials: Sequence[dict[str, int]]) -> None:
        self.folder, self.lines = folder, list[str]()
        self.status = StoreStatus(TrialStore(folder, {"n": 1}), trials)
        record = record_context(context, None)
        self.task = Task(entry="", store=str(folder), trials=tuple(trials), context=record, about={"n": 1})

    def update(self, ended: Sequence[Trial | FailedTrial]) -> None:
        self.lines += [f"ended: {dict(trial.config)}" for trial in ended]

    def watch(self, workers: pool.WorkerPool) -> None:
        watch(self.status, workers, self.update)


@pytest.fixture
def case(make_context: MakeContext, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Case]:
    """Make cases whose workers are `SCRIPT`."""
    monkeypatch.setattr(pool, "BOOTSTRAP", SCRIPT)
    monkeypatch.setattr(monitor, "POLL_SECONDS", 0.05)
    return lambda *trials: Case(make_context(digits), tmp_path / "s", trials)


def test_a_trial_that_kills_its_workers_has_failed(case: Callable[..., Case]) -> None:
    killing = case({"n": 0}, {"n": 1, "kills": 1}, {"n": 2})
    killing.folder.joinpath("go").touch()
    with LocalWorkers(2, killing.folder, killing.lines.append) as workers:
        workers.submit(killing.task)
        killing.watch(workers)
    assert [row.config["n"] for row in killing.status.trials()] == [0, 2]
    (failure,) = killing.status.failures()
    assert failure.config["n"] == 1
    assert failure.error == "its process was ended by SIGKILL, and so did another one in it before (out of memory?)"
    assert any("was ended by SIGKILL in n 1, kills 1; another takes the trial over" in line for line in killing.lines)


def test_workers_that_fail_to_start_are_not_waited_for(case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BOOTSTRAP", "import sys; sys.exit('no such device')")
    store_case = case({"n": 0}, {"n": 1}, {"n": 2})
    with (
        pytest.raises(DataPruningError, match="no worker is left, 3 trials are not done"),
        LocalWorkers(2, store_case.folder, store_case.lines.append) as workers,
    ):
        workers.submit(store_case.task)
        store_case.watch(workers)
    assert any("ended with exit code 1: no such device (full log: " in line for line in store_case.lines)


class RemoteWorker(LocalWorkers):
    """Simulates a worker on another machine, whose locks are not visible, in this process."""

    def names(self) -> list[str]:
        return ["slurm-1"]

    def poll(self, name: str) -> None:
        return None

    def process(self, name: str) -> tuple[str, int]:
        return platform.node(), os.getpid()


def test_locks_that_do_not_work_across_machines_are_reported_once(
    case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked = case({"n": 0})
    (unlocked.folder / "running").mkdir()
    claim = {"config": {"n": 0}, "pid": os.getpid(), "host": platform.node(), "since": time.time()}
    path = unlocked.folder / "running" / f"{unlocked.status.store.path({'n': 0}).stem}.json"
    write_json(path, claim)
    unlocked.status.refresh()
    watcher = Monitor(unlocked.status, RemoteWorker(1, unlocked.folder, unlocked.lines.append))
    assert watcher.check_workers()
    assert unlocked.lines == [], "it may have died just now"
    monkeypatch.setattr(monitor, "LOCK_SECONDS", 0.0)
    for _ in range(3):
        assert watcher.check_workers()
    (line,) = unlocked.lines
    assert "locks do not reach from machine to machine" in line


# ... as jobs of a fake Slurm ---------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a fake Slurm and return its state folder."""
    fake_slurm.install(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm/bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "STATE_SECONDS", 0)
    return tmp_path / "slurm/state"


def scripts(state: Path) -> list[str]:
    """Return the scripts that sbatch received."""
    return [path.read_text() for path in sorted(state.glob("*.sh"))]


def slurm_jobs(case: Case, count: int, **settings: Any) -> SlurmJobs:
    """Start jobs for a case."""
    return SlurmJobs(count, case.folder, case.lines.append, SlurmSettings(**{"cpus": 1, "gpus": 0, **settings}))


def test_an_array_of_jobs_outlives_the_command_and_is_found(case: Callable[..., Case], state: Path) -> None:
    first = case({"n": 0}, {"n": 1}, {"n": 2})
    settings = {"partition": "debug", "time": 30, "memory": 2.0, "setup": "export SAID=1", "cpus": 3, "gpus": 1}
    with pytest.raises(KeyboardInterrupt), slurm_jobs(first, 2, **settings) as jobs:
        jobs.submit(first.task)
        wait_until(lambda: first.status.refresh() == [] and len(first.status.running) == 2)
        raise KeyboardInterrupt
    (script,) = scripts(state)
    for option in (
        "partition=debug", "time=30", "mem=2GB", "cpus-per-task=3", "gpus-per-node=1", "array=0-1%2", "job-name=dprune",
    ):  # fmt: skip
        assert re.search(f"^#SBATCH --{option}$", script, re.MULTILINE), (option, script)
    assert "\nexport SAID=1\n" in script
    assert first.lines == [
        "2 jobs are submitted: 1000_0, 1000_1",
        "2 jobs are running and continue without this command; the same command monitors them again",
        "to end them: scancel 1000",
    ]
    repeated = case({"n": 0}, {"n": 1}, {"n": 2})
    with slurm_jobs(repeated, 2, **settings) as jobs:
        jobs.submit(repeated.task)
        assert repeated.lines == ["2 jobs are of an earlier call at work: 1000_0, 1000_1"]
        (repeated.folder / "go").touch()
        repeated.watch(jobs)
    assert len(scripts(state)) == 1, "nothing was submitted twice"
    assert [line for line in repeated.lines if line.startswith("ended")] == [f"ended: {{'n': {k}}}" for k in range(3)]
    assert {row.result["by"] for row in repeated.status.trials()} == {"slurm-1", "slurm-2"}
    assert read_json(repeated.folder / "jobs.json")["jobs"] == {}


@pytest.mark.slow
def test_a_trial_is_blamed_for_a_death_but_not_for_the_end_of_a_job_s_time(case: Callable[..., Case], state: Path) -> None:
    one = case({"n": 0})
    ends = ["TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY", "OUT_OF_MEMORY"]

    def end_next(ended: Sequence[Trial | FailedTrial]) -> None:
        """End the job that runs the next trial with the next state."""
        number = len(list(state.glob("*.final")))
        running = [(claim.host, claim.pid) for claim in one.status.running.values()]
        if not ended and number < len(ends) and jobs.process(f"slurm-{number + 1}") in running:
            monitor_seen.append(number)
            if monitor_seen.count(number) > 1:  # the monitor has seen it as well
                fake_slurm.end_task(state, str(1000 + number), ends[number])

    monitor_seen = list[int]()
    with slurm_jobs(one, 1) as jobs:
        jobs.submit(one.task)
        watch(one.status, jobs, end_next)
    assert [line for line in one.lines if "was ended" in line] == [
        f"slurm {k} was ended ({final}) in n 0; another takes the trial over" for k, final in enumerate(ends[:-1], 1)
    ]
    (failure,) = one.status.failures()
    assert failure.error.startswith("its process was ended (OUT_OF_MEMORY), and so did another one in it before")


def test_cancelled_jobs_are_not_replaced_and_queued_ones_end_with_the_trials(
    case: Callable[..., Case], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "EXIT_TIMEOUT", 0.1)
    (state / "queue").touch()
    queued = case({"n": 0}, {"n": 1})
    with (
        pytest.raises(DataPruningError, match="no worker is left, 2 trials are not done"),
        slurm_jobs(queued, 1) as jobs,
    ):
        jobs.submit(queued.task)
        assert Monitor(queued.status, jobs).check_workers(), "a job in the queue is a worker"
        fake_slurm.end_task(state, "1000", "CANCELLED by 7")
        queued.watch(jobs)
    assert any("slurm 1 was ended (CANCELLED)" in line for line in queued.lines)
    with slurm_jobs(queued, 2) as jobs:
        jobs.submit(queued.task)
        list(queued.status.store.run_remaining(queued.status.configs, lambda config: {"by": "another process"}))
        queued.watch(jobs)
    assert [path.read_text() for path in sorted(state.glob("1001_*.final"))] == ["CANCELLED by 0"] * 2


def test_jobs_with_fewer_trials_are_replaced_by_jobs_with_all(case: Callable[..., Case], state: Path) -> None:
    small = case({"n": 0})
    with pytest.raises(KeyboardInterrupt), slurm_jobs(small, 1) as jobs:
        jobs.submit(small.task)
        raise KeyboardInterrupt
    large = case({"n": 0}, {"n": 1}, {"n": 2})
    (large.folder / "go").touch()
    with slurm_jobs(large, 1) as jobs:
        jobs.submit(large.task)
        large.watch(jobs)
    assert [row.result["by"] for row in large.status.trials()] == ["slurm-1", "slurm-2", "slurm-2"]


def test_the_error_of_sbatch_is_passed_on(case: Callable[..., Case], state: Path) -> None:
    (state.parent / "bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
    refused = case({"n": 0})
    with (
        pytest.raises(InvalidValue, match=r"sbatch refuses the jobs: .*invalid partition specified: x"),
        slurm_jobs(refused, 1, partition="x") as jobs,
    ):
        jobs.submit(refused.task)
