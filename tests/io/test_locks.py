"""Locks: one process works, the others wait with one message; a killed holder does not block others."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from filelock import Timeout

from datapruning.errors import InvalidFile
from datapruning.io.locks import exclusive_lock, file_lock
from datapruning.utils.system import PROJECT_ROOT

SPAWN = multiprocessing.get_context("spawn")


def hold(path: Path, has_it: Path) -> None:
    """Hold the lock until killed."""
    with exclusive_lock(path, "waiting"):
        has_it.touch()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> multiprocessing.process.BaseProcess:
    """Start a process that holds the lock of "work"."""
    monkeypatch.syspath_prepend(PROJECT_ROOT)
    process = SPAWN.Process(target=hold, args=(tmp_path / "work", tmp_path / "has-it"))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "has-it").exists():
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.01)
    return process


def test_the_second_process_waits_and_gets_the_lock_when_the_first_is_killed(
    tmp_path: Path, holder: multiprocessing.process.BaseProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Timeout):
        file_lock(tmp_path / "work").acquire(timeout=0)
    assert holder.pid is not None
    pid = holder.pid
    timer = threading.Timer(0.3, lambda: os.kill(pid, signal.SIGKILL))
    timer.start()
    start_time = time.monotonic()
    with exclusive_lock(tmp_path / "work", "another process works"):
        assert time.monotonic() - start_time > 0.25
    timer.join()
    holder.join(60)
    assert capsys.readouterr().err == "another process works; waiting for it\n"


def test_a_free_lock_is_taken_silently_and_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), exclusive_lock(tmp_path / "deep" / "work", "never said"):
            raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_locks_of_two_things_do_not_meet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exclusive_lock(tmp_path / "a", "never said"), exclusive_lock(tmp_path / "b", "never said"):
        assert not (tmp_path / "a").exists(), "the lock is a file beside it"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def none(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", none)
    with (
        pytest.raises(InvalidFile, match=r"without file locks \(flock\).* name another workspace"),
        exclusive_lock(tmp_path / "a", "?"),
    ):
        pass


def test_a_leftover_lock_file_has_no_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".work.lock").write_text("1 another-machine\n")
    with exclusive_lock(tmp_path / "work", "never said"):
        pass
    assert capsys.readouterr().err == ""
