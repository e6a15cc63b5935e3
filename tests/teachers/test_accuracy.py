"""Teachers near chance on the test set stop a command before a student is trained, unless they are allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import IncompatibleInputs
from datapruning.experiments.sweep.sweep import sweep
from datapruning.runs.context import Context
from datapruning.teachers import accuracy
from tests.conftest import CommandResult, fast_options

MakeContext = Callable[..., Context]
WEAK = ("teacher.lr=1e-9", "teacher.model=tinynet8", "train.model=tinynet8")
"""A teacher that learns nothing."""
pytestmark = pytest.mark.weak_teachers


@pytest.fixture
def context(make_context: MakeContext, small_dataset: Dataset) -> Context:
    """Make a context whose teacher stays near chance."""
    return make_context(small_dataset, *WEAK)


@pytest.mark.parametrize(
    ("counts", "percent", "is_weak"),
    [((50, 50), 62.4, True), ((50, 50), 62.6, False), ((10,) * 10, 19.9, True), ((10,) * 10, 20.1, False),
     ((90, 5, 5), 92.4, True), ((90, 5, 5), 92.6, False), ((1,) * 100, 1.9, True), ((1,) * 100, 2.1, False)],
)  # fmt: skip
def test_near_chance_is_measured_by_the_largest_class(counts: tuple[int, ...], percent: float, is_weak: bool) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    split = Split(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
    data = Dataset("made", split, split, tuple(map(str, range(len(counts)))))
    assert accuracy.is_near_chance(percent / 100, accuracy.chance_accuracy(data)) == is_weak


def students(context: Context) -> list[Path]:
    """The finished students in the workspace."""
    return list((context.workspace / "students").rglob("result.json"))


def test_a_run_folder_near_chance_is_refused_as_the_teacher(context: Context) -> None:
    folder = dp.teach(context).folder
    with pytest.raises(IncompatibleInputs, match=r"teacher .* near chance \(\d+.\d+%\): train it longer or with") as raised:
        dp.train(context, fraction=0.5, kd_weight=0.5, teacher=folder)
    assert str(folder) in str(raised.value)
    assert raised.value.parameter == "allow_weak_teacher"
    assert not (context.workspace / "students").exists()
    dp.train(context, fraction=0.5, kd_weight=0, teacher=folder)  # it teaches nobody
    dp.train(context, fraction=0.5, kd_weight=0.5, teacher=folder, allow_weak_teacher=True)
    assert len(students(context)) == 2


def test_a_teacher_that_is_trained_here_stops_the_student_of_the_same_command(
    dprune: Callable[..., CommandResult], tmp_path: Path
) -> None:
    settings = [word for change in WEAK for word in ("--set", change)]
    command = ("train", "--data", "digits", "--fraction", "0.1", "--kd-weight", "0.5", *fast_options(), *settings)
    refused = dprune(*command, "--out", "s")
    assert refused.code == 2
    line = refused.err.splitlines()[-1]
    assert line.startswith("dprune: teacher dprune-runs/teachers/digits-tinynet8-")
    assert line.endswith("train it longer or with other settings, or allow a weak teacher (--allow-weak-teacher)")
    assert not (tmp_path / "s" / "result.json").exists()
    allowed = dprune(*command, "--allow-weak-teacher", "--out", "s")
    assert allowed.code == 0, allowed.err
    assert "teacher: using dprune-runs/teachers/digits-tinynet8-" in allowed.err
    assert (tmp_path / "s" / "result.json").exists()


def test_a_choice_needs_one_teacher_that_is_better(context: Context, make_context: MakeContext) -> None:
    weak = [dp.teach(context, seed=seed).folder for seed in (0, 1)]
    with pytest.raises(IncompatibleInputs, match="near chance"):
        dp.train(context, fraction=0.5, teacher=["auto", *weak])
    teachers: list[Any] = [accuracy_of(dp.teach(context), percent) for percent in (10.0, 99.0)]
    accuracy.check_accuracy(teachers, context.data, choose=True)
    with pytest.raises(IncompatibleInputs, match=r"has 10.00% on the test set of generated"):
        accuracy.check_accuracy(teachers, context.data)


def accuracy_of(run: Any, percent: float) -> Any:
    """The run with another accuracy."""
    return type(run)(run.folder, run.result.model_copy(update={"test_accuracy": percent}))


def test_a_sweep_stops_before_its_first_student(context: Context, tmp_path: Path) -> None:
    grid: dict[str, Any] = {"fractions": "0.5", "seeds": 1, "out": tmp_path / "sweep"}
    with pytest.raises(IncompatibleInputs, match="near chance"):
        sweep(context, kd_weights="0,0.5", **grid)
    with pytest.raises(IncompatibleInputs, match="near chance"):
        sweep(context, kd_weights="0.5", teachers=dp.teach(context), **grid)
    assert not list((tmp_path / "sweep").rglob("result.json"))
    assert len(sweep(context, kd_weights="0.5", allow_weak_teacher=True, **grid).trials) == 1


def test_the_teacher_of_an_advice_is_refused(dprune: Callable[..., CommandResult]) -> None:
    settings = [word for change in WEAK for word in ("--set", change)]
    taught = dprune("teach", "--data", "digits", *fast_options(), *settings, "--out", "t")
    assert taught.code == 0, taught.err
    refused = dprune("advise", "--data", "digits", "--teacher", "t", *fast_options(), *settings)
    assert refused.code == 2
    assert "teacher t has" in refused.err.splitlines()[-1]


def test_a_self_teacher_near_chance_is_refused(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset, *WEAK, "train.lr=1e-9", "self_distill.method=tf-kd-self")
    with pytest.raises(IncompatibleInputs, match="near chance"):
        dp.train(context, fraction=0.5, kd_weight=0)
