"""Workers elsewhere: a made-up Slurm, submitit on this machine, a Ray of one node. The same rows, with the same bits."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from datapruning.artifacts.scores import load_scores
from datapruning.cli import launcher_options as launchers
from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, InvalidValue
from datapruning.experiments.sweep.sweep import Sweep, sweep
from datapruning.experiments.workers import jobs, slurm, workers
from datapruning.experiments.workers import monitor as watching
from datapruning.experiments.workers.launcher import Launcher, find_launcher
from datapruning.experiments.workers.monitor import watch
from datapruning.experiments.workers.slurm import SlurmJobs
from datapruning.experiments.workers.status import Board
from datapruning.experiments.workers.task import Task
from datapruning.experiments.workers.workers import Ending, Process, Workers
from datapruning.io.json import read_json
from datapruning.io.locks import lock_of
from datapruning.io.trial_store import Config, Failure, Row, RowStore
from datapruning.runs.opening import open_context
from datapruning.utils.hashing import digest
from tests.conftest import FAST as CONTEXT
from tests.conftest import Answer
from tests.experiments.sweep.test_sweep import CHANGES, FAST, same_bits
from tests.helpers import fake_slurm

COMMAND = Path(sys.executable).parent / "dprune"
ABOUT = {"n": 1}

# What cannot be is said before anything is written -------------------------------------------------------------------

BAD = [
    (["--launcher", "slum"], "unknown launcher 'slum': did you mean 'slurm'?"),
    (["--launcher-set", "time=5"], "--launcher-set is for --launcher slurm and ray"),
    (["--launcher", "slurm"], "there is no Slurm here (sbatch is not found)"),
    (["--launcher", "slurm", "--launcher-set", "time"], "--launcher-set takes key=value"),
    (["--launcher", "slurm", "--launcher-set", "partitoin=x"], "did you mean 'partition'?"),
    (["--launcher", "slurm", "--launcher-set", "cluster=pbs"], "cluster=pbs: slurm, or local"),
    (["--launcher", "slurm", "--launcher-set", "time=soon"], "time=soon: a number"),
    (["--launcher", "slurm", "--launcher-set", "cpus=1.5"], "cpus=1.5: a whole number"),
    (["--launcher", "ray", "--launcher-set", "cpu=1"], "did you mean 'cpus'?"),
    (["--launcher", "ray", "--launcher-set", "gpus=-1"], "gpus=-1: a number, 0 or more"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda v: "-".join(v) if isinstance(v, list) else "")
def test_bad_input_is_one_line_and_writes_nothing(
    refused: Callable[..., str], words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said in refused("sweep", *FAST, *words)
    assert said in refused("score", "--scorer", "memorization", *FAST, *words)


def test_a_package_that_is_missing_is_named_with_its_extra(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert "pip install 'datapruning-toolkit[slurm]'" in refused("sweep", *FAST, "--launcher", "slurm")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else real(name, *more))
    assert "pip install 'datapruning-toolkit[ray]'" in refused("sweep", *FAST, "--launcher", "ray")


def test_workers_of_a_score_need_members_to_train(refused: Callable[..., str]) -> None:
    assert "el2n, aum read none" in refused("score", "--scorer", "el2n,aum", "--jobs", "2", *FAST)
    assert "--jobs is at least 1, got 0" in refused("score", "--scorer", "memorization", "--jobs", "0", *FAST)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_what_the_command_trains_itself_needs_the_device_here(refused: Callable[..., str]) -> None:
    words = ["score", "--scorer", "memorization,el2n", "--launcher", "ray", *FAST, "--device", "cuda"]
    assert "el2n: their proxies are trained by this command, and there is no GPU here" in refused(*words)


def test_a_gpu_may_be_where_the_workers_are_alone(tmp_path: Path) -> None:
    def opened(launcher: Launcher, device: str) -> tuple[str, str]:
        context = launchers.context_from(
            launcher, "digits", None, False, None, None, device, "memory", tmp_path / "runs", 1
        )  # fmt: skip
        return str(context.device), context.loader

    asks = Launcher("slurm", {"gpus": "1"})
    assert opened(asks, "auto") == ("cuda", "memory"), "a GPU for each job is what auto means then"
    assert opened(Launcher("ray"), "cuda") == ("cuda", "memory")
    assert opened(Launcher("ray"), "cpu") == ("cpu", "memory")
    assert find_launcher("local").device("auto") == "auto"


# Jobs of light workers in a made-up Slurm ------------------------------------------------------------------------------

LIGHT = """
import os, platform, sys, time
sys.path.append(sys.argv[1])
from pathlib import Path
from datapruning.io.json import read_json, write_json
from datapruning.io.trial_store import RowStore
task, name = read_json(Path(sys.argv[2])), sys.argv[3]
folder = Path(task["folder"])
who = {"pid": os.getpid(), "host": platform.node(), "since": time.time()}
write_json(folder / "workers" / f"{name}.json", who)
def work(config):
    while not (folder / "go").exists():
        time.sleep(0.05)
    return {"by": name}
list(RowStore(folder, task["about"]).fill(task["configs"], work))
write_json(folder / "workers" / f"{name}.json", {**who, "exit": 0})
"""


class Told:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def update(self, news: list[Row | Failure] | Any) -> None:
        self.lines += [f"ended: {dict(each.config)}" for each in news]

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


class Cluster(NamedTuple):
    """A made-up Slurm: the folder of its state, and the number of its first job."""

    state: Path
    first: int

    def scripts(self) -> list[str]:
        """What sbatch was given."""
        return [path.read_text() for path in sorted(self.state.glob("*.sh"))]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """One that runs light workers; they wait for the file `go` in the folder of the store."""
    first = fake_slurm.install(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm/bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(jobs, "BOOT", LIGHT)
    monkeypatch.setattr(slurm, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.05)
    return Cluster(tmp_path / "slurm/state", first)


def rows_in(folder: Path, count: int) -> tuple[Board, Task]:
    """A store of so many rows, and the task of doing them."""
    configs: list[Config] = [{"n": k} for k in range(count)]
    board = Board(RowStore(folder, ABOUT), configs)
    return board, Task("", None, {}, "", "", "", 1, str(folder), ABOUT, {}, [dict(c) for c in configs], "")


def at_work(board: Board, crew: SlurmJobs, name: str) -> bool:
    """Whether a worker is at a row."""
    board.refresh()
    return crew.process(name) in [(claim.host, claim.pid) for claim in board.running.values()]


def until(true: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


SETTINGS = {"partition": "debug", "time": "30", "memory": "2", "reservation": "mine", "setup": "export SAID=1"}


def test_an_array_of_jobs_is_left_alone_and_found_again(tmp_path: Path, cluster: Cluster) -> None:
    board, task = rows_in(tmp_path / "s", 3)
    said = Told()
    with pytest.raises(KeyboardInterrupt), SlurmJobs(2, board.store.folder, said.line, SETTINGS, 3, 1) as crew:
        crew.go(task)
        until(lambda: board.refresh() == [] and len(board.running) == 2)
        raise KeyboardInterrupt
    (script,) = cluster.scripts()
    for option in (
        "partition=debug", "time=30", "mem=2GB", "reservation=mine", "cpus-per-task=3", "gpus-per-node=1", "array=0-1%2",
        "job-name=dprune",
    ):  # fmt: skip
        assert re.search(f"^#SBATCH --{option}$", script, re.MULTILINE), (option, script)
    assert "\nexport SAID=1\n" in script
    assert said.lines[0] == f"2 jobs are submitted: {cluster.first}_0, {cluster.first}_1"
    assert "2 jobs are at work and go on without this command" in said
    assert said.lines[-1] == f"to end them: scancel {cluster.first}"
    again = Told()
    with SlurmJobs(2, board.store.folder, again.line, SETTINGS, 3, 1) as crew:
        crew.go(task)
        assert again.lines == [f"2 jobs are of an earlier call at work: {cluster.first}_0, {cluster.first}_1"]
        (board.store.folder / "go").touch()
        watch(board, crew, again)
    assert len(cluster.scripts()) == 1, "nothing was submitted twice"
    assert [line for line in again.lines if line.startswith("ended")] == [f"ended: {{'n': {k}}}" for k in range(3)]
    assert {row.result["by"] for row in board.rows()} == {"slurm-1", "slurm-2"}
    assert read_json(board.store.folder / "jobs.json")["jobs"] == {}


def test_a_row_is_not_blamed_for_the_end_of_a_job_s_time_but_for_a_death(tmp_path: Path, cluster: Cluster) -> None:
    board, task = rows_in(tmp_path / "s", 1)
    said = Told()
    with SlurmJobs(1, board.store.folder, said.line, {}, 1, 0) as crew:
        crew.go(task)
        for number, state in enumerate(["TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "OUT_OF_MEMORY"]):
            assert crew.tend(board)
            until(lambda: at_work(board, crew, f"slurm-{number + 1}"))  # noqa: B023
            fake_slurm.end(cluster.state, str(cluster.first + number), state)
            until(lambda: not crew.tend(board) or len(cluster.scripts()) > number + 1)  # noqa: B023
        watch(board, crew, said)
        (failure,) = board.failures()
    assert [line for line in said.lines if "was ended" in line] == [
        f"slurm {k} was ended by Slurm ({state}) in n 0; another takes the row over"
        for k, state in enumerate(["TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"], 1)
    ]
    assert failure.error.startswith("its process was ended by Slurm (OUT_OF_MEMORY), and so did another one in it before")


def test_jobs_that_are_cancelled_are_not_replaced_and_those_in_the_queue_go_with_the_rows(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "A_MOMENT", 0.1)
    (cluster.state / "queue").touch()
    board, task = rows_in(tmp_path / "s", 2)
    said = Told()
    with (
        pytest.raises(DataPruningError, match="no worker is left, 2 rows are not done"),
        SlurmJobs(1, board.store.folder, said.line, {}, 1, 0) as crew,
    ):
        crew.go(task)
        assert crew.tend(board), "a job in the queue is a worker"
        fake_slurm.end(cluster.state, str(cluster.first), "CANCELLED by 7")
        watch(board, crew, said)
    assert "slurm 1 was ended by Slurm (CANCELLED)" in said
    with SlurmJobs(2, board.store.folder, said.line, {}, 1, 0) as crew:
        crew.go(task)
        list(board.store.fill(board.configs, lambda config: {"by": "somebody else"}))
        watch(board, crew, said)
    assert [path.read_text() for path in sorted(cluster.state.glob(f"{cluster.first + 1}_*.said"))] == ["CANCELLED by 0"] * 2


def test_jobs_with_fewer_rows_are_replaced_by_jobs_with_all(tmp_path: Path, cluster: Cluster) -> None:
    small, task = rows_in(tmp_path / "s", 1)
    with pytest.raises(KeyboardInterrupt), SlurmJobs(1, small.store.folder, lambda _: None, {}, 1, 0) as crew:
        crew.go(task)
        raise KeyboardInterrupt
    board, task = rows_in(tmp_path / "s", 3)
    (board.store.folder / "go").touch()
    with SlurmJobs(1, board.store.folder, lambda _: None, {}, 1, 0) as crew:
        crew.go(task)
        watch(board, crew, Told())
    assert [row.result["by"] for row in board.rows()] == ["slurm-1", "slurm-2", "slurm-2"]


def test_what_sbatch_says_against_the_jobs_is_passed_on(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "slurm/bin/sbatch"
    place.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
    board, task = rows_in(tmp_path / "s", 1)
    with (
        pytest.raises(InvalidValue, match=r"sbatch refuses the jobs: .*invalid partition specified: x"),
        SlurmJobs(1, board.store.folder, lambda _: None, {"partition": "x"}, 1, 0) as crew,
    ):
        crew.go(task)


class Elsewhere(Workers):
    """One worker on another machine, whose locks are not seen here."""

    def go(self, task: Task) -> None: ...
    def wait(self) -> None: ...
    def stop(self) -> None: ...
    def drop(self, name: str) -> None: ...
    def start(self, count: int) -> None: ...

    def names(self) -> list[str]:
        return ["slurm-1"]

    def ending(self, name: str) -> Ending | None:
        return None

    def process(self, name: str) -> Process | None:
        return platform.node(), os.getpid()


def test_locks_that_do_not_reach_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, _ = rows_in(tmp_path / "s", 1)
    (tmp_path / "s/running").mkdir()
    claim = {"config": board.configs[0], "pid": os.getpid(), "host": platform.node(), "since": time.time()}
    (tmp_path / "s/running" / f"{board.store.path(board.configs[0]).stem}.json").write_text(json.dumps(claim))
    board.refresh()
    said = Told()
    crew = Elsewhere(1, tmp_path / "s", said.line)
    assert crew.tend(board)
    assert said.lines == [], "it may have died just now"
    monkeypatch.setattr(workers, "LOCKS_SECONDS", 0.0)
    for _ in range(3):
        assert crew.tend(board)
    (line,) = said.lines
    assert "locks do not reach from machine to machine" in line


# Real workers -------------------------------------------------------------------------------------------------------------

SHARED: dict[str, Any] = {"fractions": "0.1", "scorers": "random", "kd_weights": "0,0.9", "seeds": 2}
WORDS = ["sweep", "--out", "s", "--jobs", "2", *FAST]
WORDS += [word for key, value in SHARED.items() for word in (f"--{key.replace('_', '-')}", str(value))]
HERE = ["--launcher", "slurm", "--launcher-set", "cluster=local"]
MEMBERS = ["--set", "ensemble.num_members=6", "--set", "ensemble.subset_fraction=0.5", "--set", "ensemble_member.epochs=1"]


@pytest.fixture(scope="module")
def undisturbed(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep of SHARED, done by one process in one go."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    return sweep(open_context(digits, changes=[*CONTEXT, *CHANGES], loader="memory", workspace=workspace), **SHARED)


class Command(NamedTuple):
    """A command at work; what it says goes to files, for jobs of this machine keep a pipe open after it."""

    process: subprocess.Popen[bytes]
    folder: Path

    def said(self) -> str:
        """What it said so far."""
        return (self.folder / "stderr.txt").read_text()

    def end(self) -> tuple[int, str, str]:
        """Its exit code, stdout and stderr."""
        code = self.process.wait(300)
        return code, (self.folder / "stdout.txt").read_text(), self.said()


@contextmanager
def command(folder: Path, *words: str) -> Iterator[Command]:
    """The installed command in a process group of its own, which does not outlive the block."""
    place = folder / f"said-{time.monotonic_ns()}"
    place.mkdir()
    with (place / "stdout.txt").open("w") as out, (place / "stderr.txt").open("w") as err:
        process = subprocess.Popen([COMMAND, *words], cwd=folder, stdout=out, stderr=err, start_new_session=True)
    try:
        yield Command(process, place)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def at_a_row(folder: Path) -> int | None:
    """The process that is at one of the rows."""
    for path in (folder / "running").glob("[!.]*.json"):
        try:
            return int(json.loads(path.read_text())["pid"])
        except (OSError, ValueError):
            continue  # it ended just now
    return None


def read_again(digits: Dataset, folder: Path) -> Sweep:
    """A finished sweep."""
    workspace = folder.parent / "dprune-runs"
    context = open_context(digits, changes=[*CONTEXT, *CHANGES], loader="memory", workspace=workspace)
    return sweep(context, **SHARED, out=folder)


def test_submitit_s_jobs_go_on_without_the_command_and_one_that_is_killed_is_replaced(
    digits: Dataset, tmp_path: Path, undisturbed: Sweep
) -> None:
    folder, ahead = tmp_path / "s", ExitStack()
    with command(tmp_path, *WORDS, *HERE) as first, ahead:
        until(lambda: (folder / "store.json").exists())
        for row in undisturbed.rows:  # nobody begins one before the second command is there
            ahead.enter_context(lock_of(folder / "rows" / f"{digest(row.config, 16)}.json"))
        until(lambda: "2 jobs are submitted" in first.said())
        first.process.send_signal(signal.SIGINT)
        code, _, err = first.end()
        assert code == 130, err
        assert "2 jobs are at work and go on without this command: the same command watches them again" in err
        with command(tmp_path, *WORDS, *HERE) as second:
            until(lambda: "2 jobs are of an earlier call at work" in second.said())
            ahead.close()
            os.kill(until(lambda: at_a_row(folder)), signal.SIGKILL)
            code, out, err = second.end()
    assert code == 0, err
    # a row takes less than a second: the signal may find the worker in it, or just behind its end
    assert re.search(r"slurm [12] was ended(?: in .*; another takes the row over|: )", err), err
    logs = "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert logs.count("teacher: convnet (") == 1, "one worker prepared, the other waited"
    assert same_bits(read_again(digits, folder), undisturbed)
    assert out.startswith(undisturbed.table)


def test_a_ray_of_one_node_does_the_same_rows_and_replaces_a_task_that_is_killed(
    digits: Dataset, tmp_path: Path, undisturbed: Sweep
) -> None:
    with command(tmp_path, *WORDS, "--launcher", "ray") as sweeping:
        os.kill(until(lambda: at_a_row(tmp_path / "s")), signal.SIGKILL)
        code, out, err = sweeping.end()
    if "discovered a bug in Ray" in err:  # it aborts now and then where a killed task's answer comes late: nothing is lost
        with command(tmp_path, *WORDS, "--launcher", "ray") as again:
            code, out, _ = again.end()
    assert code == 0, err
    assert re.search(r"ray [12]-\d+ was ended by SIGKILL(?: in .*; another takes the row over|: )", err), err
    assert same_bits(read_again(digits, tmp_path / "s"), undisturbed)
    assert out.startswith(undisturbed.table)


def test_jobs_make_the_ensemble_that_one_process_makes(tmp_path: Path, dprune: Callable[..., Answer]) -> None:
    words = ["score", "--scorer", "memorization", *FAST, *MEMBERS]
    alone = dprune(*words, "--out", "alone.npz", "--workspace", "alone")
    assert alone.code == 0, alone.err
    with command(tmp_path, *words, "--out", "jobs.npz", "--workspace", "jobs", "--jobs", "2", *HERE) as scoring:
        code, _, err = scoring.end()
    assert code == 0, err
    assert "member: 6 of 6 done" in err
    assert "1 epochs over" not in err, "nothing was left for the command itself"
    one, two = (load_scores(tmp_path / name) for name in ("alone.npz", "jobs.npz"))
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.stderr, two.stderr)
