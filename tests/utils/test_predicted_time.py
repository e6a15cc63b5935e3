"""How long a command will take: when it is said, and how."""

import os
from collections.abc import Iterator

import pytest

from datapruning.utils import predicted_time
from datapruning.utils.console import quiet
from datapruning.utils.predicted_time import announce_time, format_duration, predict_time


@pytest.fixture(autouse=True)
def predicted_times(no_predicted_times: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process, on a machine without load."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    token = predicted_time._PENDING.set(None)
    yield
    predicted_time._PENDING.reset(token)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (75, "75 s"), (119.6, "2 min"), (200, "3 min"), (7000, "117 min"), (7300, "2 h 2 min")],
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_outermost_command_says_it_once_with_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    announce_time()
    with predict_time(lambda: {"teacher": 200.0, "student": 40.0, "soft labels": 0.0}):
        with predict_time(lambda: {"other": 1.0}):
            announce_time()
        announce_time()
    announce_time()
    assert capsys.readouterr().err == "time: about 4 min (teacher 3 min, student 40 s)\n"
    with predict_time(lambda: {"teacher": 12.0}):
        announce_time()
    assert capsys.readouterr().err == "time: about 12 s\n"


def test_nothing_is_said_where_nothing_is_left_or_single_steps_are_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with predict_time(lambda: {"teacher": 0.0}):
        announce_time()
    with quiet(), predict_time(lambda: pytest.fail("it was measured")):
        announce_time()
    monkeypatch.setenv("DPRUNE_QUIET", "1")
    with predict_time(lambda: pytest.fail("it was measured")):
        announce_time()
    assert capsys.readouterr().err == ""


def test_a_quiet_step_says_the_time_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with predict_time(lambda: {"students": 30.0}), quiet():
        announce_time()
    assert capsys.readouterr().err == "time: about 30 s\n"


@pytest.mark.parametrize(("load", "is_busy"), [(3.0, False), (6.1, True)])
def test_a_busy_machine_is_named(
    load: float, is_busy: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(predicted_time, "available_cpus", lambda: 4)
    with predict_time(lambda: {"teacher": 12.0}):
        announce_time()
    warning = (
        f"warning: other programs keep this machine busy (a load of {load}, 4 cores): it may take longer, most of all with "
        "several threads\n"
    )
    assert capsys.readouterr().err == "time: about 12 s\n" + warning * is_busy
