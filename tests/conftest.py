"""Shared fixtures: small real and generated datasets, a context in a temporary workspace, the command line in-process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings

from datapruning.cli.main import run
from datapruning.data.dataset import Dataset, Split
from datapruning.data.registry import open_dataset
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.teachers import accuracy
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.step import optimizer_step
from datapruning.utils import predicted_time

os.environ["OMP_NUM_THREADS"] = "1"  # of commands that tests start
torch.set_num_threads(1)  # small networks are not faster with two threads, and much slower on a busy machine

settings.register_profile("project", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("project")

IS_NEAR_CHANCE = accuracy.is_near_chance
FAST = (
    "train.epochs=2", "teacher.epochs=2", "proxy.epochs=2",
    "evidence.runs=2", "evidence.early_epoch=1", "kd.max_probes=3",
)  # fmt: skip
"""Settings with which every command runs in about a second."""


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tests independent of the developer's data."""
    monkeypatch.delenv("DPRUNE_DATA", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _weak_teachers_teach() -> Iterator[None]:
    """Let teachers of one or two epochs teach, which are often near chance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "is_near_chance", lambda *_: False)
        yield


@pytest.fixture(autouse=True)
def _weak_teachers_are_refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tests marked `weak_teachers`, refuse them as for users."""
    if "weak_teachers" in request.keywords:
        monkeypatch.setattr(accuracy, "is_near_chance", IS_NEAR_CHANCE)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The embedded digits: 1,438 training and 359 test images."""
    return open_dataset("digits")


def make_dataset(count: int = 120, side: int = 8, channels: int = 3, classes: int = 4, seed: int = 0) -> Dataset:
    """Make random images whose brightness depends on the class; imbalanced (class k is about twice class k-1)."""
    rng = np.random.default_rng(seed)

    def split(size: int) -> Split:
        class_weights = 2.0 ** np.arange(classes)
        labels = rng.choice(classes, size, p=class_weights / class_weights.sum())
        labels[:classes] = np.arange(classes)
        noise = rng.integers(0, 100, (size, side, side, channels))
        return Split((noise + 40 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8), labels.astype(np.int64))

    return Dataset("generated", split(count), split(count // 2), tuple(f"class {k}" for k in range(classes)))


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    """120 generated RGB images of 8x8 in 4 imbalanced classes."""
    return make_dataset()


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Context]:
    """Make a context with the in-memory loader, fast settings and a temporary workspace."""

    def make(data: Dataset, *changes: str, **options: object) -> Context:
        settings = {"loader": "memory", "device": "cpu", "workspace": tmp_path / "runs", **options}
        return open_context(data, changes=[*FAST, *changes], **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(autouse=True)
def no_predicted_times() -> Iterator[None]:
    """Do not measure how long each training of a test will take; `tests/training/test_speed.py` does."""
    token = predicted_time._PENDING.set([])
    yield
    predicted_time._PENDING.reset(token)


class CommandResult(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def dprune(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CommandResult]:
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> CommandResult:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return CommandResult(code, output.out, output.err)

    return call


@pytest.fixture
def expect_refusal(dprune: Callable[..., CommandResult], tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused (exit code 2, one line on stderr, nothing written) and return that line."""

    def call(*arguments: object) -> str:
        paths_before = sorted(p for p in tmp_path.rglob("*"))
        command = dprune(*arguments)
        lines = command.err.strip().splitlines()
        assert command.code == 2, command
        assert command.out == ""
        assert len(lines) == 1, command.err
        assert lines[0].startswith("dprune: ")
        assert sorted(p for p in tmp_path.rglob("*")) == paths_before
        return lines[0]

    return call


class SimulatedKill(BaseException):
    """Ends a run like SIGKILL: no code catches it."""


@pytest.fixture
def kill_and_resume(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Interrupt a function that trains, and call it again until it completes.

    `kill_and_resume(work, 3, 20)` calls `work` three times: interrupted after 3 training steps, then after 20, then not
    interrupted. A checkpoint is saved after every training step, or with `every=k` after every k-th.
    """

    def call(work: Callable[[], Any], *kill_steps: int, every: int = 1) -> Any:
        checks = [0]

        def due(_: Checkpoint) -> bool:
            checks[0] += 1
            return checks[0] % every == 0

        monkeypatch.setattr(Checkpoint, "due", due)
        for kill_step in kill_steps:
            remaining = [kill_step]

            def step_or_kill(*arguments: Any, remaining: list[int] = remaining) -> None:
                if not remaining[0]:
                    raise SimulatedKill
                remaining[0] -= 1
                optimizer_step(*arguments)

            with monkeypatch.context() as patch, pytest.raises(SimulatedKill):
                patch.setattr("datapruning.training.trainer.optimizer_step", step_or_kill)
                work()
        return work()

    return call


def fast_options() -> list[str]:
    """Return the options for FAST and the in-memory loader."""
    return [option for change in FAST for option in ("--set", change)] + ["--loader", "memory"]
