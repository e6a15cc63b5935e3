"""The trial store: each trial runs once, in any process, and a killed process loses only its current trial."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from datapruning.errors import DiskFull, IncompatibleInputs, InvalidFile
from datapruning.io.json import read_json, write_json
from datapruning.io.locks import file_lock
from datapruning.io.trial_store import FailedTrial, Trial, TrialConfig, TrialStore
from datapruning.utils.system import PROJECT_ROOT

ABOUT = {"dataset": "d", "settings": {"epochs": 3, "grid": [0.0, 0.5]}}
SPAWN = multiprocessing.get_context("spawn")


def never(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fail: this trial must not run."""
    raise AssertionError(f"{config} was run again")


def square(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result quickly."""
    return {"square": config["n"] ** 2}


def noted(folder: Path) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Write a file for each execution."""

    def work(config: Mapping[str, Any]) -> dict[str, Any]:
        (folder / f"{config['n']}-{os.getpid()}-{time.monotonic_ns()}").touch()
        time.sleep(0.02)
        return {"pid": os.getpid()}

    return work


def fill(folder: Path, notes: Path, backwards: bool) -> None:
    """Run in each of two processes."""
    configs = [{"n": n} for n in range(12)]
    TrialStore(folder, ABOUT).run_all(configs[::-1] if backwards else configs, noted(notes))


def hang(folder: Path, begun: Path) -> None:
    """Start a process that finishes trial 0, and is running trial 1 when the file `begun` exists."""
    store = TrialStore(folder, ABOUT)
    store.run({"n": 0}, square)

    def work(config: Mapping[str, Any]) -> dict[str, Any]:
        begun.touch()
        time.sleep(60)
        return {}

    store.run({"n": 1}, work)


@pytest.fixture(autouse=True)
def _workers_find_this_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROJECT_ROOT)


def test_a_trial_runs_once(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    assert store.get({"n": 3}) is None
    first = store.run({"n": 3}, square)
    assert first is not None
    assert first.result == {"square": 9}
    repeated = TrialStore(tmp_path, dict(reversed(ABOUT.items()))).run({"n": 3}, never)
    assert repeated is not None
    assert (repeated.config, repeated.result, repeated.seconds) == (first.config, first.result, first.seconds)


def test_trials_are_returned_in_the_requested_order(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    store.run({"n": 2}, square)
    rows = store.run_all([{"n": n} for n in (3, 2, 1)], square)
    assert [row.result["square"] for row in rows] == [9, 4, 1]
    assert sorted(row.config["n"] for row in store.trials()) == [1, 2, 3]


def test_two_processes_share_the_trials(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    workers = [SPAWN.Process(target=fill, args=(tmp_path / "store", notes, backwards)) for backwards in (False, True)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(int(p.name.partition("-")[0]) for p in notes.iterdir()) == list(range(12)), "each exactly once"
    assert len(list(TrialStore(tmp_path / "store", ABOUT).trials())) == 12


def test_a_waiting_process_finds_the_trial_finished(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    rows: list[Any] = []
    with file_lock(store.path({"n": 1})):
        waiting = threading.Thread(target=lambda: rows.append(store.run({"n": 1}, never)))
        waiting.start()
        time.sleep(0.2)
        write_json(store.path({"n": 1}), {"config": {"n": 1}, "result": {"by": "another"}, "seconds": 1.0})
    waiting.join(60)
    assert [row.result for row in rows] == [{"by": "another"}]


def test_a_killed_process_loses_only_its_trial_and_blocks_no_other(tmp_path: Path) -> None:
    worker = SPAWN.Process(target=hang, args=(tmp_path / "store", tmp_path / "begun"))
    worker.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        assert worker.is_alive()
        time.sleep(0.01)
    store = TrialStore(tmp_path / "store", ABOUT)
    assert store.run({"n": 1}, never, wait=False) is None, "somebody else has it"
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(60)
    assert store.run({"n": 0}, never) is not None
    repeated = store.run({"n": 1}, square, wait=False)
    assert repeated is not None
    assert repeated.result == {"square": 1}


def test_a_failing_trial_leaves_no_file_and_can_run_again(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)

    def fails(config: Mapping[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("this row fails")

    with pytest.raises(ZeroDivisionError, match="this row fails"):
        store.run({"n": 1}, fails)
    with pytest.raises(ValueError, match="JSON"):
        store.run({"n": 1}, lambda _: {"loss": float("nan")})
    assert [p.name for p in tmp_path.rglob("[!.]*.json")] == ["store.json"]
    assert not list(tmp_path.rglob("*.part"))
    assert store.run({"n": 1}, square) is not None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**ABOUT, "dataset": "e"}, "about.dataset is 'd' there, 'e' here"),
        ({**ABOUT, "settings": {"epochs": 4, "grid": [0.0, 0.5]}}, "about.settings.epochs is 3 there, 4 here"),
        ({**ABOUT, "threads": 2}, "about.threads is None there, 2 here"),
        ({"dataset": "d"}, "about.settings is"),
    ],
)
def test_another_store_is_refused_and_the_difference_named(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    TrialStore(tmp_path, ABOUT).run({"n": 1}, square)
    before = sorted(p for p in tmp_path.rglob("*"))
    with pytest.raises(IncompatibleInputs, match=message):
        TrialStore(tmp_path, config)
    assert sorted(p for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"config": {"n": 1}', b'{"config": {"n": 2}, "result": {}, "seconds": 1}']
)
def test_a_modified_trial_is_refused(tmp_path: Path, content: bytes) -> None:
    store = TrialStore(tmp_path, ABOUT)
    store.run({"n": 1}, square)
    store.path({"n": 1}).write_bytes(content)
    with pytest.raises(InvalidFile, match=store.path({"n": 1}).name):
        store.run({"n": 1}, never)


def test_a_listing_refuses_invalid_trials(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    store.run({"n": 1}, square)
    write_json(store.path({"n": 2}), {"result": 3})
    with pytest.raises(InvalidFile):
        list(store.trials())


def test_trials_are_plain_json(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    store.run({"n": 5}, square)
    value = read_json(store.path({"n": 5}))
    assert (value["config"], value["result"]) == ({"n": 5}, {"square": 25})


def picky(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fail in different ways for some trials."""
    errors: dict[int, BaseException] = {
        1: InvalidFile("no such thing"), 2: ZeroDivisionError("by zero"), 3: MemoryError(), 4: OSError(28, "No space left")
    }  # fmt: skip
    if config["n"] in errors:
        raise errors[config["n"]]
    return square(config)


def test_a_failing_trial_is_recorded_and_does_not_stop_the_others(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    outcomes = list(store.run_remaining([{"n": n} for n in range(6)], picky))
    assert [type(o) for o in outcomes] == [Trial, FailedTrial, FailedTrial, FailedTrial, FailedTrial, Trial]
    text = [o.error for o in outcomes if isinstance(o, FailedTrial)]
    assert text == [
        "no such thing",
        "ZeroDivisionError: by zero",
        "MemoryError: MemoryError",
        "OSError: [Errno 28] No space left",
    ]
    mistake, bug = store.failure({"n": 1}), store.failure({"n": 2})
    assert mistake == FailedTrial(config={"n": 1}, error="no such thing")
    assert bug is not None
    assert "in picky" in str(bug.traceback)
    assert {row.config["n"] for row in store.trials()} == {0, 5}, "a failure is no row"
    assert not list((tmp_path / "running").iterdir())


def test_a_failed_trial_is_skipped_until_it_is_cleared(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    assert isinstance(store.try_run({"n": 1}, picky), FailedTrial)
    assert isinstance(store.try_run({"n": 1}, never), FailedTrial)
    store.clear_failure({"n": 1})
    store.clear_failure({"n": 1})
    assert store.failure({"n": 1}) is None
    assert store.try_run({"n": 1}, square) == store.get({"n": 1})
    assert isinstance(store.try_run({"n": 1}, never), Trial)


def test_ctrl_c_does_not_fail_the_trial(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)

    def interrupted(config: Mapping[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.try_run({"n": 1}, interrupted)
    assert (store.failure({"n": 1}), store.running_trial({"n": 1})) == (None, None)
    assert store.run({"n": 1}, square) is not None


def test_a_claim_names_the_process_and_whether_it_is_alive(tmp_path: Path) -> None:
    worker = SPAWN.Process(target=hang, args=(tmp_path / "store", tmp_path / "begun"))
    worker.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store = TrialStore(tmp_path / "store", ABOUT)
    claim = store.running_trial({"n": 1})
    assert claim is not None
    assert (claim.pid, claim.alive) == (worker.pid, True)
    assert abs(claim.since - time.time()) < 60
    assert store.running_trial({"n": 0}) is None, "it is done"
    assert store.try_run({"n": 1}, never) is None, "somebody else has it"
    worker.kill()
    worker.join(60)
    claim = store.running_trial({"n": 1})
    assert claim is not None
    assert not claim.alive
    assert list(store.run_remaining([{"n": 0}, {"n": 1}], square))[1] == store.get({"n": 1})
    assert store.running_trial({"n": 1}) is None


def test_a_failure_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, ABOUT)
    store.record_failure({"n": 1}, "why")
    write_json(tmp_path / "failed" / store.path({"n": 1}).name, {"why": "not"})
    with pytest.raises(InvalidFile, match="failed"):
        store.try_run({"n": 1}, never)


def test_the_difference_that_is_named_is_one(tmp_path: Path) -> None:
    TrialStore(tmp_path, {"grid": (0.0, 0.5), "threads": 1})
    TrialStore(tmp_path, {"grid": [0.0, 0.5], "threads": 1})
    with pytest.raises(IncompatibleInputs, match=r"\(about.threads is 1 there, 2 here\)"):
        TrialStore(tmp_path, {"grid": (0.0, 0.5), "threads": 2})


def test_a_full_disk_does_not_fail_the_trial(tmp_path: Path) -> None:
    store = TrialStore(tmp_path, {})

    def full(config: TrialConfig) -> dict[str, Any]:
        raise DiskFull("x: the disk is full")

    with pytest.raises(DiskFull):
        store.try_run({"n": 1}, full)
    assert store.failure({"n": 1}) is None
    assert store.try_run({"n": 1}, lambda config: {"done": True}) == store.get({"n": 1})


def test_waiting_for_a_trial_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = TrialStore(tmp_path, {})
    path, has_it = store.path({"n": 1}), threading.Event()

    def hold() -> None:
        with file_lock(path):
            has_it.set()
            time.sleep(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    assert has_it.wait(60)
    store.run({"n": 1}, lambda config: {})
    holder.join()
    assert capsys.readouterr().err == f"another process runs the trial {path}; waiting for it\n"
