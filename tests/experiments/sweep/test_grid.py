"""The grid of a sweep: its trials, refused grids, its cost, and its table."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from datapruning.config.training import TrainConfig
from datapruning.data.batching import batch_sizes
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.grid import Grid, canonical_fraction, make_grid
from datapruning.experiments.sweep.live_table import SweepDisplay, _render, status_line
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.experiments.sweep.status import SweepStatus, estimate_seconds
from datapruning.experiments.sweep.table import make_caption, make_csv, make_table, markdown
from datapruning.io.json import write_json
from datapruning.io.trial_store import RunningTrial, TrialStore
from datapruning.training.schedules import planned_samples, planned_steps

TRAINING = TrainConfig(epochs=3, batch_size=16)


def grid(**changes: Any) -> Grid:
    """Make a grid of two fractions, scorers, KD weights and seeds."""
    options: dict[str, Any] = {"fractions": "0.1,1", "scorers": "random,el2n", "kd_weights": "0,0.9", "seeds": 2}
    return make_grid(1000, **{**options, **changes})


def status_of(tmp_path: Path, requested_grid: Grid) -> SweepStatus:
    """Return the status of a sweep without trials."""
    return SweepStatus(TrialStore(tmp_path, {"n": 1}), requested_grid, TRAINING)


def result(config: Mapping[str, Any]) -> dict[str, Any]:
    """Make the result of a run."""
    return {
        "test_accuracy": 80.0 + config["seed"], "kd_weight": 0.5 if config["kd_weight"] == "auto" else config["kd_weight"],
        "samples_seen": 300, "folder": f"runs/{config['seed']}", "seconds": {"train": 1.0, "teacher": 100.0},
    }  # fmt: skip


def test_students_are_every_combination_seed_by_seed() -> None:
    students = grid(fractions="0.1,0.5", kd_weights="0.5,auto").students()
    assert len(students) == 2**4
    assert len({str(spec) for spec in students}) == len(students)
    assert [spec.seed for spec in students] == [0] * 8 + [1] * 8
    assert {spec.kd_weight for spec in students} == {0.5, "auto"}
    assert [StudentSpec.from_config(spec.config) for spec in students] == students


def test_students_that_are_the_same_run_are_one() -> None:
    requested_grid = grid(teachers={"aa": "big", "bb": "small"}, seeds=1)
    cells = [(spec.fraction, spec.scorer, spec.kd_weight, spec.teacher) for spec in requested_grid.students()]
    assert cells == [
        ("0.1", "random", 0.0, None), ("0.1", "random", 0.9, "aa"), ("0.1", "random", 0.9, "bb"),
        ("0.1", "el2n", 0.0, None), ("0.1", "el2n", 0.9, "aa"), ("0.1", "el2n", 0.9, "bb"),
        ("1", None, 0.0, None), ("1", None, 0.9, "aa"), ("1", None, 0.9, "bb"),
    ]  # fmt: skip


def test_a_fraction_that_rounds_up_to_all_keeps_all() -> None:
    assert {spec.scorer for spec in grid(fractions="0.9999").students()} == {None}


@pytest.mark.parametrize(
    ("fraction", "text"),
    [("0.10", "0.1"), ("1/10", "0.1"), ("1.0", "1"), ("1/3", "1/3"), ("0.29", "0.29"), ("1e-3", "0.001")],
)
def test_one_text_for_one_fraction(fraction: str, text: str) -> None:
    assert canonical_fraction(fraction) == text
    assert canonical_fraction(text) == text


@pytest.mark.parametrize(
    ("argument", "seeds"), [("3", (0, 1, 2)), (3, (0, 1, 2)), ("4,2", (4, 2)), ("7,", (7,)), ([5], (5,))]
)
def test_seeds_are_a_count_or_a_list(argument: Any, seeds: tuple[int, ...]) -> None:
    assert grid(seeds=argument).seeds == seeds


def test_lists_may_be_text() -> None:
    assert grid() == grid(fractions=[0.1, 1], scorers=("random", "el2n"), kd_weights=[0, "0.90"], seeds=[0, 1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fractions": ""}, "the sweep is empty: it names no fractions"),
        ({"scorers": " , "}, "the sweep is empty: it names no scorers"),
        ({"kd_weights": []}, "the sweep is empty: it names no KD weights"),
        ({"seeds": ","}, "the sweep is empty: it names no seeds"),
        ({"seeds": 0}, "the sweep is empty: 0 seeds"),
        ({"seeds": "-2"}, "the sweep is empty: -2 seeds"),
        ({"seeds": "few"}, "got 'few'"),
        ({"seeds": "1,x"}, "a seed is a whole number; got 'x'"),
        ({"seeds": "1,-1"}, "a seed lies in 0.."),
        ({"seeds": "1,2,01"}, "seed 01 is given twice (as 1 and as 01)"),
        ({"fractions": "0.1,0.10"}, "fractions 0.1 and 0.10 both mean keeping 100 of 1,000"),
        ({"fractions": "0.1,0.1001"}, "fractions 0.1 and 0.1001 both mean keeping 100 of 1,000"),
        ({"fractions": "1,0.9999"}, "both mean keeping 1,000 of 1,000"),
        ({"fractions": "0.1,0"}, "0 < fraction <= 1; got 0"),
        ({"fractions": "30"}, "did you mean 0.3?"),
        ({"fractions": "nan"}, "0 < fraction <= 1; got nan"),
        ({"fractions": "0.001"}, "fraction 0.001 of 1,000 samples keeps 1; a student needs at least 2"),
        ({"scorers": "el2n,random,el2n"}, "scorer el2n is given twice"),
        ({"kd_weights": "0,0.0"}, "KD weight 0.0 is given twice (as 0 and as 0.0)"),
        ({"kd_weights": "0,-0"}, "KD weight -0 is given twice"),
        ({"kd_weights": "auto,auto"}, "KD weight auto is given twice"),
        ({"kd_weights": "1.5"}, "the KD weight lies in 0..1"),
        ({"kd_weights": "nan"}, "the KD weight lies in 0..1"),
        ({"kd_weights": "much"}, "got 'much'"),
    ],
)
def test_bad_grids_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        grid(**wrong)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("budget", ["epochs", "steps"])
@pytest.mark.parametrize("kept", [2, 15, 17, 33, 100])
def test_planned_samples_equal_the_batched_samples(budget: str, kept: int) -> None:
    training = TrainConfig(epochs=3, batch_size=16, budget=budget)
    sizes = batch_sizes(kept, 16)
    seen = [sizes[step % len(sizes)] for step in range(planned_steps(training, kept, 100))]
    assert planned_samples(training, kept, 100) == sum(seen)


def test_remaining_time_is_estimated_from_similar_trials(tmp_path: Path) -> None:
    requested_grid = grid(kd_weights="0,auto", seeds=3)
    students, store = requested_grid.students(), TrialStore(tmp_path, {})
    assert estimate_seconds(TRAINING, requested_grid, [], students) is None

    def timed(spec: StudentSpec, seconds: float) -> Any:
        row = store.run(spec.config, result)
        assert row is not None
        return row.model_copy(update={"seconds": seconds})

    samples = {spec: requested_grid.samples_seen(TRAINING, spec) for spec in students}
    finished = [timed(spec, 100 + 0.01 * samples[spec]) for spec in students[:2]]  # the teacher's 100 s come once
    labels_only = [spec for spec in students[2:] if spec.kd_weight == 0]
    expected = 0.01 * sum(samples[spec] for spec in labels_only)
    assert estimate_seconds(TRAINING, requested_grid, finished, labels_only) == pytest.approx(expected)
    searched = timed(students[3], 100 + 0.05 * samples[students[3]])
    assert estimate_seconds(TRAINING, requested_grid, [finished[0], searched], labels_only) == pytest.approx(expected)


def test_the_table_shows_what_is_done_running_failed_and_missing(tmp_path: Path) -> None:
    requested_grid = grid(fractions="0.1", kd_weights="0,0.9,auto", seeds=3)
    status = status_of(tmp_path, requested_grid)
    random, el2n = (
        [c for c in [spec.config for spec in requested_grid.students()] if c["scorer"] == scorer]
        for scorer in ("random", "el2n")
    )
    for config in random:
        status.store.run(config, result)
    status.store.run(next(c for c in el2n if c["kd_weight"] == 0), result)
    status.store.record_failure(next(c for c in el2n if c["kd_weight"] == 0.9), "why, really")
    assert len(status.refresh()) == 11
    head, first, second = make_table(status)
    assert head == ["fraction", "kept", "scorer", "no KD", "KD weight 0.9", "KD weight auto"]
    assert first == ["0.1", "100", "random", "81.00 ± 1.00", "81.00 ± 1.00", "81.00 ± 1.00 at 0.5"]
    assert second == ["0.1", "100", "el2n", "80.00 (1 of 3)", "(0 of 3, 1 failed)", "(0 of 3)"]
    assert len({len(line) for line in markdown(make_table(status)).splitlines()}) == 1, "columns are aligned"
    assert "budget: epochs" in make_caption(status, "digits")

    running = next(c for c in el2n if c["kd_weight"] == "auto")
    status.store.run(running, lambda _: (status.refresh(), result(running))[1])  # seen from inside the row
    assert make_table(status, live=True)[2][-1] == "(0 of 3, 1 running)"
    assert make_table(status)[2][-1] == "(0 of 3)"
    assert status_line(status).startswith("10 of 18 done, 1 running, 1 failed, about ")


def test_teachers_are_lines_of_the_table(tmp_path: Path) -> None:
    requested_grid = grid(fractions="0.1", scorers="random", teachers={"aa": "big", "bb": "small"}, seeds=1)
    status = status_of(tmp_path, requested_grid)
    list(status.store.run_remaining([spec.config for spec in requested_grid.students()], result))
    status.refresh()
    assert [line[3:] for line in make_table(status)] == [
        ["teacher", "no KD", "KD weight 0.9"], ["none", "80.00", ""], ["big", "", "80.00"], ["small", "", "80.00"]
    ]  # fmt: skip


def test_rows_csv_has_a_line_for_every_ended_trial(tmp_path: Path) -> None:
    requested_grid = grid(fractions="0.1", scorers="random", seeds=1)
    status = status_of(tmp_path, requested_grid)
    rows = [spec.config for spec in requested_grid.students()]
    status.store.run(rows[0], result)
    status.store.record_failure(rows[1], "a, comma")
    status.refresh()
    finished, failed = csv.DictReader(io.StringIO(make_csv(status)))
    assert (finished["status"], finished["test_accuracy"], finished["kept"], finished["folder"]) == (
        "done",
        "80.0",
        "100",
        "runs/0",
    )
    assert (failed["status"], failed["error"], failed["test_accuracy"]) == ("failed", "a, comma", "")


def test_the_live_table_shows_the_status(tmp_path: Path) -> None:
    status = status_of(tmp_path, grid())
    screen = Console(file=io.StringIO(), width=100)
    screen.print(_render(status))
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    assert "0 of 12 done, time left not known yet" in text
    assert "(0 of 2)" in text


def test_without_a_terminal_each_trial_is_a_line(tmp_path: Path) -> None:
    status = status_of(tmp_path, grid(fractions="0.1", scorers="random", seeds=1))
    file = io.StringIO()
    screen = SweepDisplay(status, Console(file=file, width=200))
    status.store.run(status.configs[0], result)
    status.store.record_failure(status.configs[1], "why")
    screen.update(status.refresh())
    assert file.getvalue().splitlines() == [
        "1 of 2 done, 1 failed: random, keeping 100 of 1,000, KD weight 0, seed 0: 80.00% (1 s)",
        "failed: random, keeping 100 of 1,000, KD weight 0.9, seed 0: why",
    ]


def test_a_trial_whose_process_died_counts_as_remaining(tmp_path: Path) -> None:
    status = status_of(tmp_path, grid())
    config = status.configs[0]
    running = RunningTrial(config=config, pid=1, host="h", since=time.time(), alive=False)
    write_json(tmp_path / "running" / status.store.path(config).name, running.to_json())
    status.refresh()
    assert (len(status.running), len(status.died)) == (0, 1)
    assert config in status.remaining
