"""`dprune sweep`: every trial is one `train`, runs once, and only new trials run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.api.score import score
from datapruning.api.teach import teach
from datapruning.api.train import train
from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, IncompatibleInputs, InvalidFile, InvalidValue, OutputExists, UnknownName
from datapruning.experiments.sweep.sweep import Sweep, sweep
from datapruning.experiments.workers.task import Task, record_context, write_task
from datapruning.io.json import read_json
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.runs.context import Context
from datapruning.utils.records import parse_record
from tests.conftest import CommandResult, fast_options

MakeContext = Callable[..., Context]
FAST = [*fast_options(), "--threads", "1", "--device", "cpu"]
CHANGES = ("teacher.epochs=2",)
GRID: dict[str, Any] = {"fractions": "0.2,1", "scorers": "random,el2n", "kd_weights": "0,0.9", "seeds": 2}
CHANGING = {"seconds", "subset", "folder", "soft_labels_computed"}
"""What may differ between two ways to the same result: times, paths, and who filled the soft labels."""


def bare(value: Any) -> Any:
    """Return a result without the values that may differ."""
    if isinstance(value, Mapping):
        return {key: bare(item) for key, item in value.items() if key not in CHANGING}
    return [bare(item) for item in value] if isinstance(value, list | tuple) else value


def weights(folder: Path, row: Trial) -> bytes:
    """Return the bytes of a trial's trained network."""
    return (folder / row.result["folder"] / "model.safetensors").read_bytes()


def same_bits(one: Sweep, other: Sweep) -> bool:
    """Whether two sweeps have the same trials, results, networks and table."""
    return (
        [(r.config, bare(r.result)) for r in one.trials] == [(r.config, bare(r.result)) for r in other.trials]
        and [weights(one.folder, r) for r in one.trials] == [weights(other.folder, r) for r in other.trials]
        and one.table == other.table
    )


def test_every_trial_equals_one_training_run(small_dataset: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small_dataset, *CHANGES)
    finished_sweep = sweep(context, **GRID, out=tmp_path / "sweep")
    assert len(finished_sweep.trials) == 12, "2 seeds of random and el2n at 0.2, and of everything, with and without KD"
    assert finished_sweep.failures == ()
    el2n = score(context, "el2n")
    for row in finished_sweep.trials:
        config = row.config
        single_run = train(
            context, fraction=config["fraction"], scores=el2n if config["scorer"] == "el2n" else None,
            kd_weight=config["kd_weight"], seed=config["seed"],
        )  # fmt: skip
        assert bare(row.result) == bare(single_run.result.to_json())
        assert weights(finished_sweep.folder, row) == (single_run.folder / "model.safetensors").read_bytes()
    assert (finished_sweep.folder / "table.md").read_text().startswith(finished_sweep.table)
    assert len((finished_sweep.folder / "rows.csv").read_text().splitlines()) == 13
    assert len(list((tmp_path / "runs/teachers").iterdir())) == 1
    assert len(list((tmp_path / "runs/evidence").iterdir())) == 1, "one recording for the students of all seeds"
    (done_file,) = (tmp_path / "runs/teachers").rglob("done.npy")
    assert sum(r.result.get("soft_labels_computed", 0) for r in finished_sweep.trials) == np.load(done_file).sum(), (
        "each label once"
    )


def test_a_larger_grid_does_only_what_is_new(
    small_dataset: Dataset, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(small_dataset, *CHANGES)
    first = sweep(context, fractions="0.2", kd_weights="0", seeds=2)
    trained = []
    original = train
    monkeypatch.setattr(
        "datapruning.api.train.train",
        lambda *arguments, **options: [trained.append(options["seed"]), original(*arguments, **options)][1],
    )
    repeated = sweep(context, fractions=[0.2], kd_weights=[0.0], seeds=(0, 1))
    assert trained == []
    assert (repeated.folder, repeated.table) == (first.folder, first.table)
    larger = sweep(context, fractions="0.2", kd_weights="0", seeds="1,5,2")
    assert trained == [5, 2]
    assert larger.folder == first.folder
    assert [row.config["seed"] for row in larger.trials] == [1, 5, 2]


def test_a_moved_sweep_resumes(small_dataset: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small_dataset, *CHANGES)
    sweep(context, fractions="0.2", kd_weights="0", seeds=1, out=tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    finished_sweep = sweep(context, fractions="0.2", kd_weights="0", seeds=2, out=tmp_path / "there")
    assert all((finished_sweep.folder / row.result["folder"] / "result.json").is_file() for row in finished_sweep.trials)


def test_teachers_are_a_dimension(small_dataset: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small_dataset, *CHANGES)
    teachers = [teach(context, seed=seed, out=tmp_path / f"teacher-{seed}") for seed in (0, 1)]
    finished_sweep = sweep(context, fractions="0.2", kd_weights="0,0.9", seeds=1, teachers=teachers)
    assert len(finished_sweep.trials) == 3
    teacher_names = [Path(row.result["teacher"][0]["folder"]).name for row in finished_sweep.trials if row.config["teacher"]]
    assert teacher_names == ["teacher-0", "teacher-1"]
    assert "teacher-1" in finished_sweep.table
    (tmp_path / "teacher-0").rename(tmp_path / "moved")
    repeated = sweep(
        context, fractions="0.2", kd_weights="0,0.9", seeds=1, teachers=f"{tmp_path / 'moved'},{tmp_path}/teacher-1"
    )
    assert [row.result for row in repeated.trials] == [row.result for row in finished_sweep.trials], (
        "a teacher is known by its weights"
    )


def test_a_failed_trial_is_shown_and_can_be_retried(
    small_dataset: Dataset, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context(small_dataset, *CHANGES)
    grid: dict[str, Any] = {"fractions": "0.2", "kd_weights": "0", "seeds": 3}
    original = train

    def picky(*arguments: Any, **options: Any) -> Any:
        if options["seed"] == 1:
            raise MemoryError
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("datapruning.api.train.train", picky)
        first = sweep(context, **grid)
        assert [row.config["seed"] for row in first.trials] == [0, 2]
        assert [failure.config["seed"] for failure in first.failures] == [1]
        assert "(2 of 3, 1 failed)" in first.table
        assert "failed: random, keeping 24 of 120, KD weight 0, seed 1: MemoryError" in capsys.readouterr().err
    first_sweep = sweep(context, **grid)
    assert len(first_sweep.failures) == 1
    assert "retry_failed tries them again" in capsys.readouterr().err
    repeated = sweep(context, **grid, retry_failed=True)
    assert (len(repeated.trials), repeated.failures) == (3, ())


def test_cost_is_printed_before_training(
    small_dataset: Dataset, make_context: MakeContext, capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context(small_dataset, *CHANGES)
    finished_sweep = sweep(context, fractions="0.2,1", scorers="random,el2n", kd_weights="0,0.9", seeds=1)
    first, second, *shared = capsys.readouterr().err.splitlines()[:4]
    assert "6 trials, 2 fractions x 2 scorers x 2 KD weights" in first
    assert "such trials are one" in first
    assert "0 of 6 done" in first
    samples_seen = sum(row.result["samples_seen"] for row in finished_sweep.trials)
    assert second == f"to train: 6 students, {samples_seen:,} samples in all"
    assert "el2n (2 proxies, 360 samples)" in shared[0]
    assert "teacher (240 samples)" in shared[1]
    sweep(context, fractions="0.2", kd_weights="auto", seeds=2)
    assert "2 students, 96 samples in all, and the search for the KD weight in 2 of them" in capsys.readouterr().err


def test_a_sweep_of_another_configuration_or_dataset_is_refused(
    small_dataset: Dataset, make_context: MakeContext, tmp_path: Path, digits: Dataset
) -> None:
    grid: dict[str, Any] = {"fractions": "0.2", "kd_weights": "0", "seeds": 1, "out": tmp_path / "sweep"}
    sweep(make_context(small_dataset, *CHANGES), **grid)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(IncompatibleInputs, match=r"about\.recipe\.train\.epochs is 2 there, 3 here"):
        sweep(make_context(small_dataset, *CHANGES, "train.epochs=3"), **grid)
    with pytest.raises(IncompatibleInputs, match=r"about\.threads is 1 there, 2 here"):
        sweep(make_context(small_dataset, *CHANGES, threads=2), **grid)
    with pytest.raises(IncompatibleInputs, match=r"about\.dataset is 'generated' there, 'digits' here"):
        sweep(make_context(digits, *CHANGES), **grid)
    assert sorted(tmp_path.rglob("*")) == before


def test_teachers_that_cannot_teach_are_refused(
    small_dataset: Dataset, digits: Dataset, make_context: MakeContext, tmp_path: Path
) -> None:
    context = make_context(small_dataset, *CHANGES)
    teacher = teach(context, out=tmp_path / "teacher")
    other = teach(make_context(digits, "teacher.epochs=1"), out=tmp_path / "other")
    (tmp_path / "nothing").mkdir()
    refused: tuple[tuple[Any, type[DataPruningError], str], ...] = (
        (tmp_path / "nothing", InvalidFile, "no finished run"),
        (tmp_path / "missing", InvalidFile, "is not there"),
        ([teacher, other], IncompatibleInputs, "classes"),
        ([teacher, str(teacher.folder)], InvalidValue, "are the same network"),
        ("", InvalidValue, "it names no teachers"),
    )
    for teachers, kind, message in refused:
        with pytest.raises(kind, match=message):
            sweep(context, fractions="0.2", seeds=1, teachers=teachers, out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_trials_of_two_teachers_are_never_mixed(small_dataset: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small_dataset, *CHANGES)
    sweep(context, fractions="0.2", kd_weights="0.9", seeds=1, out=tmp_path / "sweep")
    elsewhere = make_context(small_dataset, *CHANGES, workspace=tmp_path / "elsewhere")
    teach(elsewhere)
    (model,) = (tmp_path / "elsewhere/teachers").rglob("model.safetensors")
    tensors, _ = load_tensors(model)
    next(iter(tensors.values())).view(-1)[0] += 1  # as if trained on another kind of machine
    save_tensors(model, tensors)
    with pytest.raises(IncompatibleInputs, match="another network than the teacher of the trials that are finished"):
        sweep(elsewhere, fractions="0.2", kd_weights="0.9", seeds=2, out=tmp_path / "sweep")
    finished_sweep = sweep(elsewhere, fractions="0.2", kd_weights="0", seeds=2, out=tmp_path / "sweep")
    assert len(finished_sweep.trials) == 2, "rows without a teacher have nothing to do with it"


def test_an_output_path_with_other_content_is_refused(
    small_dataset: Dataset, make_context: MakeContext, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/custom.txt").touch()
    for path in ("folder", "folder/custom.txt"):
        with pytest.raises(OutputExists, match="holds something else"):
            sweep(make_context(small_dataset), out=tmp_path / path)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["custom.txt"]


def test_jobs_and_scorers_are_checked_first(small_dataset: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="at least 1 worker is needed, got 0"):
        sweep(make_context(small_dataset), jobs=0)
    with pytest.raises(InvalidValue, match="workers cannot open generated by its name"):
        sweep(make_context(small_dataset), jobs=2)
    with pytest.raises(UnknownName, match="did you mean 'el2n'"):
        sweep(make_context(small_dataset), scorers="el2m")
    with pytest.raises(InvalidValue, match=r"early_epoch is 5.*2 epochs"):
        sweep(make_context(small_dataset, "evidence.early_epoch=5"), scorers="el2n")
    assert not list(tmp_path.iterdir())


def test_a_task_round_trips_to_a_worker(small_dataset: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small_dataset, "train.lr=0.125", "kd.search=['views']")
    trials = ({"n": 1, "teacher": None},)
    task = Task(entry="module:function", store=str(tmp_path), trials=trials, context=record_context(context, None))
    path = write_task(tmp_path, task)
    assert parse_record(Task, read_json(path), path.name) == task


BAD = [
    (["--fractions", ""], "the sweep is empty"),
    (["--seeds", "0"], "the sweep is empty"),
    (["--fractions", "0.1,0.10"], "both mean keeping 144 of 1,438"),
    (["--fractions", "0.1,1.5"], "0 < fraction <= 1"),
    (["--fractions", "0.0005"], "keeps 1; a student needs at least 2"),
    (["--seeds", "1,1"], "seed 1 is given twice"),
    (["--kd-weights", "0.5,0.50"], "KD weight 0.50 is given twice"),
    (["--kd-weights", "2"], "the KD weight lies in 0..1"),
    (["--scorers", "random,random"], "scorer random is given twice"),
    (["--scorers", "el2m"], "did you mean 'el2n'"),
    (["--jobs", "0"], "at least 1 worker is needed, got 0 (--jobs)"),
    (["--teachers", "nowhere"], "teacher nowhere is not there"),
    (["--budget", "hours"], "unknown budget"),
    (["--threads", "0"], "at least 1 thread is needed, got 0 (--threads)"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: "-".join(v) if isinstance(v, list) else "")
def test_invalid_input_is_one_line_and_writes_no_file(
    expect_refusal: Callable[..., str], arguments: list[str], message: str
) -> None:
    assert message in expect_refusal("sweep", *FAST, *arguments)


def test_another_store_is_refused_by_the_command(
    dprune: Callable[..., CommandResult], tmp_path: Path, small_dataset: Dataset
) -> None:
    TrialStore(tmp_path / "other", {"benchmark": "of something"})
    before = sorted(tmp_path.rglob("*"))
    command = dprune("sweep", "--out", "other", *FAST)
    assert (command.code, command.out) == (2, "")
    assert command.err.startswith("dprune: other is a store of other runs (about.benchmark is 'of something' there")
    assert command.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
