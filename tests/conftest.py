"""Shared fixtures: small real and made-up data, a context in a temporary workspace, the command line in-process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from datapruning.cli.main import run
from datapruning.data.dataset import Dataset, Split
from datapruning.data.registry import open_dataset
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.step import optimizer_step

os.environ["OMP_NUM_THREADS"] = "1"  # of commands that tests start
torch.set_num_threads(1)  # networks this small run no faster on two, and much slower on a busy machine

FAST = (
    "train.epochs=2", "teacher.epochs=2", "proxy.epochs=2",
    "evidence.runs=2", "evidence.early_epoch=1", "kd.weight_grid=[0.0, 0.9]",
)  # fmt: skip
"""Settings under which every verb runs in about a second."""


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite never depends on data that lies around."""
    monkeypatch.delenv("DPRUNE_DATA", raising=False)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The embedded digits: 1,438 training and 359 test images."""
    return open_dataset("digits")


def made_up(count: int = 120, side: int = 8, channels: int = 3, classes: int = 4, seed: int = 0) -> Dataset:
    """Random images whose class shows in their brightness; imbalanced (class k has about twice class k-1)."""
    rng = np.random.default_rng(seed)

    def split(size: int) -> Split:
        shares = 2.0 ** np.arange(classes)
        labels = rng.choice(classes, size, p=shares / shares.sum())
        labels[:classes] = np.arange(classes)
        noise = rng.integers(0, 100, (size, side, side, channels))
        return Split((noise + 40 * labels[:, None, None, None]).clip(0, 255).astype(np.uint8), labels.astype(np.int64))

    return Dataset("made-up", split(count), split(count // 2), tuple(f"class {k}" for k in range(classes)))


@pytest.fixture(scope="session")
def small() -> Dataset:
    """120 made-up RGB images of 8x8 in 4 imbalanced classes."""
    return made_up()


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Context]:
    """A context on the in-memory loader with fast settings, in a workspace of its own."""

    def make(data: Dataset, *changes: str, **options: object) -> Context:
        settings = {"loader": "memory", "device": "cpu", "workspace": tmp_path / "runs", **options}
        return open_context(data, changes=[*FAST, *changes], **settings)  # type: ignore[arg-type]

    return make


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def dprune(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """The command line, in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = run([str(word) for word in arguments])
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return call


@pytest.fixture
def refused(dprune: Callable[..., Answer], tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused: exit code 2, one line on stderr, nothing written. Returns the line."""

    def call(*arguments: object) -> str:
        before = sorted(p for p in tmp_path.rglob("*"))
        answer = dprune(*arguments)
        lines = answer.err.strip().splitlines()
        assert answer.code == 2, answer
        assert answer.out == ""
        assert len(lines) == 1, answer.err
        assert lines[0].startswith("dprune: ")
        assert sorted(p for p in tmp_path.rglob("*")) == before
        return lines[0]

    return call


class Killed(BaseException):
    """What ends a run as SIGKILL would: nobody catches it."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Kill some work, and do it again to the end.

    `killed(work, 3, 20)` calls `work` three times: killed after 3 updates of whatever it trains, then after 20, then not
    any more. A checkpoint is saved after every update, or with `every=k` after every k-th.
    """

    def go(work: Callable[[], Any], *moments: int, every: int = 1) -> Any:
        checks = [0]

        def due(_: Checkpoint) -> bool:
            checks[0] += 1
            return checks[0] % every == 0

        monkeypatch.setattr(Checkpoint, "due", due)
        for moment in moments:
            left = [moment]

            def dying(*arguments: Any, left: list[int] = left) -> None:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                optimizer_step(*arguments)

            with monkeypatch.context() as patch, pytest.raises(Killed):
                patch.setattr("datapruning.training.trainer.optimizer_step", dying)
                work()
        return work()

    return go


def fast_arguments() -> list[str]:
    """`--set` for each of FAST, and the loader that starts at once."""
    return [word for change in FAST for word in ("--set", change)] + ["--loader", "memory"]
