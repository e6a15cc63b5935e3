"""Local, submitit and Ray workers: a killed one is replaced, and the results have the same bits."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.artifacts.scores import load_scores
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.experiments.sweep.sweep import Sweep, sweep
from datapruning.io.json import read_json
from datapruning.io.locks import file_lock
from datapruning.io.trial_store import TrialStore
from datapruning.runs.opening import open_context
from tests.conftest import FAST as CONTEXT
from tests.conftest import CommandResult
from tests.experiments.sweep.test_sweep import CHANGES, FAST, same_bits
from tests.helpers.fake_slurm import is_alive
from tests.helpers.processes import start_command, wait_until

SHARED: dict[str, Any] = {"fractions": "0.1", "scorers": "random,el2n", "kd_weights": "0,0.9", "seeds": 2}
WORDS = ["sweep", "--out", "s", *FAST]
WORDS += [word for key, value in SHARED.items() for word in (f"--{key.replace('_', '-')}", str(value))]
SUBMITIT = ["--jobs", "2", "--launcher", "slurm", "--launcher-set", "cluster=local"]
MEMBERS = ["--set", "ensemble.num_members=6", "--set", "ensemble.subset_fraction=0.5", "--set", "ensemble_member.epochs=1"]
IN_OR_AFTER = r"(?: in .*; another takes the trial over|: )"
"""A trial takes less than a second: the signal may find the worker in it, or just behind its end."""


def sweep_in(digits: Dataset, workspace: Path, **options: Any) -> Sweep:
    """Run the sweep of SHARED in this process, or read it if it is finished."""
    context = open_context(digits, changes=[*CONTEXT, *CHANGES], loader="memory", workspace=workspace)
    return sweep(context, **SHARED, **options)


@pytest.fixture(scope="module")
def undisturbed(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep of SHARED, run by one process without interruption."""
    return sweep_in(digits, tmp_path_factory.mktemp("undisturbed"))


def claims(folder: Path) -> list[dict[str, Any]]:
    """Return the running trials and their processes."""
    values = []
    for path in (folder / "running").glob("[!.]*.json"):
        try:
            values.append(read_json(path))
        except InvalidFile:
            continue  # it ended just now
    return values


def running(folder: Path) -> int | None:
    """Return a process that is training a student without a teacher."""
    return next((c["pid"] for c in claims(folder) if c["config"]["kd_weight"] == 0), None)


def printed_by_workers(folder: Path) -> str:
    """Return the logs of all workers."""
    return "".join(path.read_text() for path in (folder / "logs").iterdir())


def test_workers_replace_a_killed_one_and_continue_after_a_failed_trial(
    digits: Dataset, tmp_path: Path, dprune: Callable[..., CommandResult], undisturbed: Sweep
) -> None:
    folder = tmp_path / "s"
    blocked = folder / StudentSpec.from_config(undisturbed.trials[-1].config).run_folder(144)
    with start_command(tmp_path, *WORDS, "--jobs", "2") as sweeping:
        wait_until(lambda: (folder / "store.json").exists())
        blocked.mkdir(parents=True)
        (blocked / "custom.txt").touch()
        os.kill(wait_until(lambda: running(folder)), signal.SIGKILL)
        code, out, err = sweeping.wait()
    assert code == 1
    assert re.search(rf"worker \d was ended by SIGKILL{IN_OR_AFTER}", err), err
    assert re.search(r"dprune: 1 of 8 \w+ failed, the first: s/runs/", err), err
    assert "holds something else" in err
    assert "(1 of 2, 1 failed)" in out
    assert err.count("proxy 1 of 2:") == err.count("proxy 2 of 2:") == err.count("teacher: convnet") == 1
    assert not re.search(r"^(proxy|teacher: convnet)", printed_by_workers(folder), re.MULTILINE), "all was there before"
    assert not claims(folder)
    assert not list((folder / "workers").iterdir()), "no heartbeat is left"

    repeated = dprune(*WORDS)
    assert (repeated.code, repeated.out) == (1, out)
    assert "--retry-failed tries them again" in repeated.err
    (blocked / "custom.txt").unlink()
    retried_sweep = sweep_in(digits, tmp_path / "dprune-runs", out=folder, retry_failed=True)
    assert same_bits(retried_sweep, undisturbed)
    assert dprune(*WORDS).code == 0
    (done_file,) = (tmp_path / "dprune-runs/teachers").rglob("done.npy")
    assert sum(row.result.get("soft_labels_computed", 0) for row in retried_sweep.trials) == np.load(done_file).sum(), (
        "each label once"
    )


def test_a_worker_dies_with_its_parent_and_another_process_resumes(
    digits: Dataset, tmp_path: Path, undisturbed: Sweep
) -> None:
    folder = tmp_path / "s"
    with start_command(tmp_path, *WORDS, "--jobs", "2") as sweeping:
        pid = wait_until(lambda: next((c["pid"] for c in claims(folder)), None))
        sweeping.process.kill()
        sweeping.process.wait()
        wait_until(lambda: not is_alive(pid), 30)
    assert len(list(TrialStore(folder, read_json(folder / "store.json")["about"]).trials())) < 8
    assert same_bits(sweep_in(digits, tmp_path / "dprune-runs", out=folder), undisturbed)


@pytest.mark.slow
def test_submitit_jobs_outlive_the_command_and_a_killed_one_is_replaced(
    digits: Dataset, tmp_path: Path, undisturbed: Sweep
) -> None:
    folder, locks = tmp_path / "s", ExitStack()
    with start_command(tmp_path, *WORDS, *SUBMITIT) as first, locks:
        wait_until(lambda: (folder / "store.json").exists())
        store = TrialStore(folder, read_json(folder / "store.json")["about"])
        for row in undisturbed.trials:  # no trial starts before the second command is running
            locks.enter_context(file_lock(store.path(row.config)))
        wait_until(lambda: "2 jobs are submitted" in first.stderr())
        first.process.send_signal(signal.SIGINT)
        code, _, err = first.wait()
        assert code == 130, err
        assert "2 jobs are running and continue without this command; the same command monitors them again" in err
        with start_command(tmp_path, *WORDS, *SUBMITIT) as second:
            wait_until(lambda: "2 jobs are of an earlier call at work" in second.stderr())
            locks.close()
            os.kill(wait_until(lambda: running(folder)), signal.SIGKILL)
            code, out, err = second.wait()
    assert code == 0, err
    assert re.search(rf"slurm [12] was ended \(FAILED\){IN_OR_AFTER}", err), err
    assert printed_by_workers(folder).count("teacher: convnet (") == 1, "one worker prepared, the other waited"
    assert same_bits(sweep_in(digits, tmp_path / "dprune-runs", out=folder), undisturbed)
    assert out.startswith(undisturbed.table)


@pytest.mark.slow
def test_ray_runs_the_same_trials_and_replaces_a_killed_task(digits: Dataset, tmp_path: Path, undisturbed: Sweep) -> None:
    arguments = [*WORDS, "--jobs", "2", "--launcher", "ray"]
    with start_command(tmp_path, *arguments) as sweeping:
        os.kill(wait_until(lambda: running(tmp_path / "s")), signal.SIGKILL)
        code, out, err = sweeping.wait()
    if "discovered a bug in Ray" in err:  # it aborts now and then where a killed task's answer comes late: nothing is lost
        with start_command(tmp_path, *arguments) as repeated:
            code, out, _ = repeated.wait()
    assert code == 0, err
    assert re.search(rf"ray [12]-\d+ was ended by SIGKILL{IN_OR_AFTER}", err), err
    assert same_bits(sweep_in(digits, tmp_path / "dprune-runs", out=tmp_path / "s"), undisturbed)
    assert out.startswith(undisturbed.table)


@pytest.mark.slow
def test_jobs_make_the_same_ensemble_as_one_process(tmp_path: Path, dprune: Callable[..., CommandResult]) -> None:
    arguments = ["score", "--scorer", "memorization", *FAST, *MEMBERS]
    single_process = dprune(*arguments, "--out", "alone.npz", "--workspace", "alone")
    assert single_process.code == 0, single_process.err
    with start_command(tmp_path, *arguments, "--out", "jobs.npz", "--workspace", "jobs", *SUBMITIT) as scoring:
        code, _, err = scoring.wait()
    assert code == 0, err
    assert "member: 6 of 6 done" in err
    assert "1 epochs over" not in err, "nothing was left for the command itself"
    one, two = (load_scores(tmp_path / name) for name in ("alone.npz", "jobs.npz"))
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.stderr, two.stderr)
