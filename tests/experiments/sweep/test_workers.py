"""Workers of a sweep: one that dies takes nothing along, another goes on where it was, and the result has the same bits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, InvalidFile
from datapruning.experiments.sweep.grid import make_grid
from datapruning.experiments.sweep.live_table import live_table
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.experiments.sweep.status import SweepStatus
from datapruning.experiments.sweep.sweep import Sweep, sweep
from datapruning.experiments.workers import local as crews
from datapruning.experiments.workers.local import Crew
from datapruning.experiments.workers.monitor import watch
from datapruning.experiments.workers.task import Task
from datapruning.io.json import read_json
from datapruning.io.trial_store import RowStore
from datapruning.runs.opening import open_context
from tests.conftest import FAST as CONTEXT
from tests.conftest import Answer
from tests.experiments.sweep.test_sweep import CHANGES, FAST, MakeContext, same_bits

COMMAND = Path(sys.executable).parent / "dprune"
SHARED: dict[str, Any] = {"fractions": "0.1", "scorers": "random,el2n", "kd_weights": "0,0.9", "seeds": 2}
WORDS = [word for key, value in SHARED.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def until(true: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(scope="module")
def undisturbed(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep of SHARED, done by one process in one go."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    return sweep(open_context(digits, changes=[*CONTEXT, *CHANGES], loader="memory", workspace=workspace), **SHARED)


@contextmanager
def command(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The installed command in a process group of its own, which does not outlive the block."""
    process = subprocess.Popen(
        [COMMAND, "sweep", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def claims(folder: Path) -> list[dict[str, Any]]:
    """Who is at a row just now."""
    found = []
    for path in (folder / "running").glob("[!.]*.json"):
        try:
            found.append(read_json(path))
        except InvalidFile:
            continue  # it ended just now
    return found


def at_a_row_without_kd(folder: Path) -> int | None:
    """The process of such a row."""
    return next((c["pid"] for c in claims(folder) if c["config"]["kd_weight"] == 0), None)


def test_workers_take_over_from_one_that_is_killed_and_go_on_past_a_row_that_fails(
    digits: Dataset, make_context: MakeContext, tmp_path: Path, dprune: Callable[..., Answer], undisturbed: Sweep
) -> None:
    folder = tmp_path / "s"
    last = undisturbed.rows[-1].config
    blocked = folder / StudentSpec.from_config(last).run_folder(144)
    with command(tmp_path, *WORDS, "--jobs", "2", "--out", "s", *FAST) as process:
        until(lambda: (folder / "store.json").exists())
        blocked.mkdir(parents=True)
        (blocked / "mine.txt").touch()
        os.kill(until(lambda: at_a_row_without_kd(folder)), signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    # a row takes less than a second: the signal may find the worker in it, or just behind its end
    assert re.search(r"worker [12] was ended by SIGKILL(?: in .*; another takes the row over|: it said nothing)", err), err
    assert "dprune: 1 of 8 rows failed, the first: s/runs/" in err
    assert "holds something else" in err
    assert "(1 of 2, 1 failed)" in out
    assert err.count("proxy 1 of 2:") == err.count("proxy 2 of 2:") == err.count("teacher: convnet") == 1
    logs = "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert not re.search(r"^(proxy|teacher: convnet)", logs, re.MULTILINE), "what is shared was there before they began"
    assert not claims(folder)

    left = dprune("sweep", *WORDS, "--out", "s", *FAST)
    assert (left.code, left.out) == (1, out)
    assert "--retry-failed tries them again" in left.err
    (blocked / "mine.txt").unlink()
    context = make_context(digits, *CHANGES, workspace=tmp_path / "dprune-runs")
    whole = sweep(context, **SHARED, out=folder, retry_failed=True)
    assert same_bits(whole, undisturbed)
    assert dprune("sweep", *WORDS, "--out", "s", *FAST).code == 0
    (done,) = (tmp_path / "dprune-runs/teachers").rglob("done.npy")
    assert sum(row.result.get("soft_labels_computed", 0) for row in whole.rows) == np.load(done).sum(), "each label once"


def test_a_worker_dies_with_its_parent_and_another_process_goes_on(
    digits: Dataset, make_context: MakeContext, tmp_path: Path, undisturbed: Sweep
) -> None:
    folder = tmp_path / "s"
    with command(tmp_path, *WORDS, "--out", "s", *FAST) as process:
        pid = until(lambda: next((c["pid"] for c in claims(folder)), None))
        process.kill()
        process.wait()
        until(lambda: gone(pid), 30)
    assert len(list((folder / "rows").glob("[!.]*.json"))) < 8
    context = make_context(digits, *CHANGES, workspace=tmp_path / "dprune-runs")
    assert same_bits(sweep(context, **SHARED, out=folder), undisturbed)


# A crew of made-up workers: what the parent makes of those that die -----------------------------------------------------

SUICIDE = """
import json, os, sys
sys.path.append(sys.argv[1])
from pathlib import Path
from datapruning.io.trial_store import RowStore
task = json.loads(sys.stdin.readline())
def work(config):
    if config["seed"] == 1:
        os.kill(os.getpid(), 9)
    return {"test_accuracy": 50.0, "kd_weight": 0.0, "samples_seen": 1, "folder": "f"}
list(RowStore(Path(task["folder"]), task["about"]).fill(task["configs"], work))
"""


def made_up_crew(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> tuple[SweepStatus, list[str]]:
    """A sweep of 3 seeds by two workers that run `script`; the board, and what was said."""
    monkeypatch.setattr(crews, "BOOT", script)
    grid = make_grid(100, "0.5", "random", "0", 3)
    board = SweepStatus(RowStore(folder, {"n": 1}), grid, TrainConfig())
    said: list[str] = []
    with Crew(2, folder, said.append) as crew:
        crew.go(Task("", None, {}, "", "", "", 1, str(folder), {"n": 1}, {}, board.configs, ""))
        monkeypatch.setattr("datapruning.experiments.workers.monitor.POLL_SECONDS", 0.05)
        with live_table(board) as display:
            watch(board, crew, display)
    return board, said


def test_a_row_that_kills_its_workers_is_kept_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board, _ = made_up_crew(tmp_path, SUICIDE, monkeypatch)
    assert [row.config["seed"] for row in board.rows()] == [0, 2]
    (failure,) = board.failures()
    assert failure.config["seed"] == 1
    assert failure.error == "its process was ended by SIGKILL, and so did another one in it before (out of memory?)"
    assert "another takes the row over" in capsys.readouterr().err


def test_workers_that_cannot_begin_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataPruningError, match="no worker is left, 3 rows are not done"):
        made_up_crew(tmp_path, "import sys; sys.exit('no such device')", monkeypatch)
    assert "ended with exit code 1: no such device (all of it: " in capsys.readouterr().err
