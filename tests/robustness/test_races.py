"""Two processes that need the same artifact: one makes it, the other waits and takes over when the first is killed.

Real processes of the real command (forked from one that has imported all of it). The first is stopped in the middle of its
work by a hook, until the second waits; then it is killed, or continues.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.cli.main import run
from datapruning.utils.system import PROJECT_ROOT
from tests.conftest import FAST
from tests.helpers.image_files import write_image

SECONDS = 120.0
"""The longest that anything is waited for."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "tests.robustness.test_races",
        "datapruning.api.train",
        "datapruning.teachers.prepare",
        "sklearn.datasets",
        "ffcv.writer",
    ]
)


def fast(*arguments: str) -> list[str]:
    """Return the arguments of a command with fast settings."""
    return [*arguments, "--device", "cpu", "--threads", "1", *(word for change in FAST for word in ("--set", change))]


@dataclass(frozen=True)
class Race:
    """A command of two processes and its product.

    Attributes:
        first: the command that begins.
        second: the one that waits; it may want other things beside.
        hook: "module:function", where the first is stopped in the middle of its work.
        after: at which call or item of it.
        waiting: what the second says.
        working: what who makes the thing says, and who only uses it does not.
        product: where what was made lies.
        loader: "memory", or "ffcv" for what only FFCV needs.
    """

    first: list[str]
    second: list[str]
    hook: str
    after: int
    waiting: str
    working: str
    product: str


UPDATE = "datapruning.training.epoch_stats:EpochStats.record"
IN_MEMORY = ("--loader", "memory")
STUDENT = fast("train", "--fraction", "0.1", "--kd-weight", "0", *IN_MEMORY)
TAUGHT = fast("train", "--fraction", "0.1", "--kd-weight", "0.9", *IN_MEMORY)
TEACH = fast("teach", *IN_MEMORY)
PETS = ["score", "--scorer", "random", "--data", "pets", "--image-size", "16", *IN_MEMORY]
RACES = {
    "cache": Race(
        ["cache"], ["cache"], "datapruning.data.loaders.ffcv_cache:progress", 50,
        "another process is writing dprune-runs/cache/digits",
        "train.beton: 1,438 images", "cache/digits-*/train.beton",
    ),
    "images": Race(
        PETS, PETS, "datapruning.data.image_folder.decode_cache:_decode_all", 3,
        "another process is decoding folder pets, train", "pets, train: 12 images", "cache/images-*/train.npy",
    ),
    "teacher": Race(
        TEACH, TEACH, UPDATE, 5, "another process is at work in dprune-runs/teachers/digits", "teacher: using",
        "teachers/*/model.safetensors",
    ),
    "soft labels": Race(
        TAUGHT, [*TAUGHT, "--seed", "1"], "datapruning.teachers.soft_labels:batch_logits", 2,
        "another process fills these soft labels",
        "soft labels: ", "students/*seed1*/model.safetensors",
    ),
    "evidence": Race(
        fast("score", "--scorer", "el2n", *IN_MEMORY), fast("score", "--scorer", "forgetting", *IN_MEMORY), UPDATE, 5,
        "another process trains proxy 1", "proxy 1 of 1:", "scores/*forgetting*.npz",
    ),
    "run folder": Race(
        STUDENT, STUDENT, UPDATE, 3, "another process is at work in dprune-runs/students/digits", "is finished already",
        "students/*/model.safetensors",
    ),
}  # fmt: skip
BY_THE_USER = ("teacher", "run folder")
"""Those whose `working` is said by who finds the thing made, not by who makes it."""


def command(arguments: list[str], folder: Path, stderr_path: Path, hook: str = "", after: int = 0) -> None:
    """Run the command in `folder` with its output in a file; wait in the hook, if given."""
    os.chdir(folder)
    os.dup2(os.open(stderr_path, os.O_WRONLY | os.O_CREAT), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if hook:
        stop_in(hook, after, stderr_path.parent)
    sys.exit(run(arguments))


def stop_in(hook: str, after: int, notes: Path) -> None:
    """Wait for the file "go" at the given call of a function, or item of a generator."""
    calls = iter(range(1, 10**9))

    def count() -> None:
        if next(calls) == after:
            (notes / "inside").touch()
            while not (notes / "go").exists():
                time.sleep(0.01)

    module, _, name = hook.partition(":")
    owner: Any = import_module(module)
    *above, name = name.split(".")
    for attribute in above:
        owner = getattr(owner, attribute)
    original = getattr(owner, name)

    def called(*arguments: Any, **options: Any) -> Any:
        count()
        return original(*arguments, **options)

    def iterated(*arguments: Any, **options: Any) -> Iterator[Any]:
        for item in original(*arguments, **options):
            count()
            yield item

    setattr(owner, name, called if above else iterated)


@contextmanager
def process(*arguments: Any) -> Iterator[BaseProcess]:
    """Run `command(*arguments)` in a process that is killed at the end of the context."""
    child = FORKS.Process(target=command, args=arguments)
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join(SECONDS)


def until(true: Callable[[], object], *alive: BaseProcess) -> None:
    """Wait for a condition while the processes run."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        assert all(process.is_alive() for process in alive) or true()
        time.sleep(0.02)


def race(folder: Path, scenario: Race, *, killed: bool) -> tuple[str, bytes]:
    """The output of the second process, and the product."""
    notes = folder / "notes"
    notes.mkdir()
    first_output, second_output = notes / "first", notes / "second"
    with process(scenario.first, folder, first_output, scenario.hook, scenario.after) as first:
        until((notes / "inside").exists, first)
        with process(scenario.second, folder, second_output) as second:
            until(lambda: second_output.exists() and scenario.waiting in second_output.read_text(), first, second)
            if killed:
                first.kill()
            else:
                (notes / "go").touch()
                first.join(SECONDS)
                assert first.exitcode == 0, first_output.read_text()
            second.join(SECONDS)
            assert second.exitcode == 0, second_output.read_text()
    message = second_output.read_text()
    waits = [line for line in message.splitlines() if line.endswith("; waiting for it")]
    assert len(waits) == len(set(waits)) > 0, "of each thing it is said once"
    assert not list((folder / "dprune-runs").rglob("*.part")), "nothing half-written stays"
    (product,) = (folder / "dprune-runs").glob(scenario.product)
    if product.suffix == ".npz":
        with np.load(product, allow_pickle=False) as scores:
            return message, scores["score"].tobytes()
    return message, product.read_bytes()


def prepared(folder: Path, name: str) -> Path:
    """Prepare a folder for the race."""
    folder.mkdir()
    if name == "images":
        for role, number in (("train", 6), ("test", 2)):
            for k in range(number):
                for kind, shade in (("cats", 40), ("dogs", 200)):
                    write_image(folder / "pets" / role / kind / f"{k}.png", (shade, 10 * k, 0))
    if name == "soft labels":
        with process(TEACH, folder, folder / "teacher") as teacher:
            teacher.join(SECONDS)
            assert teacher.exitcode == 0, (folder / "teacher").read_text()
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name != "run folder" else name for name in RACES]
)
def test_the_second_process_waits_and_takes_over_when_the_first_is_killed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PROJECT_ROOT)  # so that the processes find this file
    if name == "cache":
        pytest.importorskip("ffcv")
    scenario = RACES[name]
    by_user = name in BY_THE_USER
    finished_output, product = race(prepared(tmp_path / "finished", name), scenario, killed=False)
    killed_output, remade_product = race(prepared(tmp_path / "killed", name), scenario, killed=True)
    after = finished_output.partition("; waiting for it\n")[2], killed_output.partition("; waiting for it\n")[2]
    if name != "soft labels":  # those of seed 1 are other samples: some are missing in either case
        assert [scenario.working in message for message in after] == ([True, False] if by_user else [False, True])
    assert product == remade_product, "who made it changes nothing"
