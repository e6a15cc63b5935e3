"""`dprune sweep`: every row is one `train`, done once, by however many processes; nothing that dies takes others along."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning import api
from datapruning.config import Training
from datapruning.context import Context
from datapruning.data.dataset import Dataset
from datapruning.errors import BadFile, BadValue, DataPruningError, Mismatch, OutputTaken, UnknownName
from datapruning.files import read_json
from datapruning.store import Row, RowStore
from datapruning.sweeping import crew as crews
from datapruning.sweeping import verb
from datapruning.sweeping.board import Board
from datapruning.sweeping.crew import Crew
from datapruning.sweeping.grid import make_grid
from datapruning.sweeping.student import run_folder
from datapruning.sweeping.verb import Sweep, sweep
from datapruning.sweeping.worker import Task, packed, unpacked
from tests.conftest import FAST as CONTEXT
from tests.conftest import Answer, fast_arguments

MakeContext = Callable[..., Context]
FAST = [*fast_arguments(), "--threads", "1", "--device", "cpu"]
CHANGES = ("teacher.epochs=2",)
GRID: dict[str, Any] = {"fractions": "0.2,1", "scorers": "random,el2n", "kd_weights": "0,0.9", "seeds": 2}
COMMAND = Path(sys.executable).parent / "dprune"
CHANGING = {"seconds", "subset", "folder", "soft_labels_computed"}
"""What may differ between two ways to the same result: times, paths, and who filled the soft labels."""


def bare(value: Any) -> Any:
    """A result without what may differ."""
    if isinstance(value, Mapping):
        return {key: bare(each) for key, each in value.items() if key not in CHANGING}
    return [bare(each) for each in value] if isinstance(value, list | tuple) else value


def weights(folder: Path, row: Row) -> bytes:
    """The bytes of a row's trained network."""
    return (folder / row.result["folder"] / "model.safetensors").read_bytes()


def same_bits(one: Sweep, other: Sweep) -> bool:
    """Whether two sweeps have the same rows, results, networks and table."""
    return (
        [(r.config, bare(r.result)) for r in one.rows] == [(r.config, bare(r.result)) for r in other.rows]
        and [weights(one.folder, r) for r in one.rows] == [weights(other.folder, r) for r in other.rows]
        and one.table == other.table
    )


def until(true: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_every_row_is_one_train(small: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small, *CHANGES)
    found = sweep(context, **GRID, out=tmp_path / "sweep")
    assert len(found.rows) == 12, "2 seeds of random and el2n at 0.2, and of everything, with and without KD"
    assert found.failures == ()
    el2n = api.score(context, "el2n")
    for row in found.rows:
        config = row.config
        alone = api.train(
            context, fraction=config["fraction"], scores=el2n if config["scorer"] == "el2n" else None,
            kd_weight=config["kd_weight"], seed=config["seed"],
        )  # fmt: skip
        assert bare(row.result) == bare(alone.result)
        assert weights(found.folder, row) == (alone.folder / "model.safetensors").read_bytes()
    assert (found.folder / "table.md").read_text().startswith(found.table)
    assert len((found.folder / "rows.csv").read_text().splitlines()) == 13
    assert len(list((tmp_path / "runs/teachers").iterdir())) == 1
    assert len(list((tmp_path / "runs/evidence").iterdir())) == 1, "one recording for the students of all seeds"
    (done,) = (tmp_path / "runs/teachers").rglob("done.npy")
    assert sum(r.result.get("soft_labels_computed", 0) for r in found.rows) == np.load(done).sum(), "each label once"


def test_a_larger_grid_does_only_what_is_new(
    small: Dataset, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(small, *CHANGES)
    first = sweep(context, fractions="0.2", kd_weights="0", seeds=2)
    trained = []
    real = api.train
    monkeypatch.setattr(
        api, "train", lambda *words, **options: [trained.append(options["seed"]), real(*words, **options)][1]
    )
    again = sweep(context, fractions=[0.2], kd_weights=[0.0], seeds=(0, 1))
    assert trained == []
    assert (again.folder, again.table) == (first.folder, first.table)
    larger = sweep(context, fractions="0.2", kd_weights="0", seeds="1,5,2")
    assert trained == [5, 2]
    assert larger.folder == first.folder
    assert [row.config["seed"] for row in larger.rows] == [1, 5, 2]


def test_a_moved_sweep_goes_on(small: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small, *CHANGES)
    sweep(context, fractions="0.2", kd_weights="0", seeds=1, out=tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    found = sweep(context, fractions="0.2", kd_weights="0", seeds=2, out=tmp_path / "there")
    assert all((found.folder / row.result["folder"] / "result.json").is_file() for row in found.rows)


def test_teachers_are_a_dimension(small: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small, *CHANGES)
    teachers = [api.teach(context, seed=seed, out=tmp_path / f"teacher-{seed}") for seed in (0, 1)]
    found = sweep(context, fractions="0.2", kd_weights="0,0.9", seeds=1, teachers=teachers)
    assert len(found.rows) == 3
    taught = [Path(row.result["teacher"][0]["folder"]).name for row in found.rows if row.config["teacher"]]
    assert taught == ["teacher-0", "teacher-1"]
    assert "teacher-1" in found.table
    (tmp_path / "teacher-0").rename(tmp_path / "moved")
    again = sweep(
        context, fractions="0.2", kd_weights="0,0.9", seeds=1, teachers=f"{tmp_path / 'moved'},{tmp_path}/teacher-1"
    )
    assert [row.result for row in again.rows] == [row.result for row in found.rows], "a teacher is known by its weights"


def test_a_row_that_fails_is_shown_and_can_be_retried(
    small: Dataset, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context(small, *CHANGES)
    grid: dict[str, Any] = {"fractions": "0.2", "kd_weights": "0", "seeds": 3}
    real = api.train

    def picky(*words: Any, **options: Any) -> Any:
        if options["seed"] == 1:
            raise MemoryError
        return real(*words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(api, "train", picky)
        first = sweep(context, **grid)
        assert [row.config["seed"] for row in first.rows] == [0, 2]
        assert [failure.config["seed"] for failure in first.failures] == [1]
        assert "(2 of 3, 1 failed)" in first.table
        assert "failed: random, keeping 24 of 120, KD weight 0, seed 1: MemoryError" in capsys.readouterr().err
    left = sweep(context, **grid)
    assert len(left.failures) == 1
    assert "--retry-failed tries them again" in capsys.readouterr().err
    again = sweep(context, **grid, retry_failed=True)
    assert (len(again.rows), again.failures) == (3, ())


def test_cost_is_said_before_anything_is_trained(
    small: Dataset, make_context: MakeContext, capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context(small, *CHANGES)
    found = sweep(context, fractions="0.2,1", scorers="random,el2n", kd_weights="0,0.9", seeds=1)
    first, second, *shared = capsys.readouterr().err.splitlines()[:4]
    assert "6 rows, 2 fractions x 2 scorers x 2 KD weights" in first
    assert "such rows are one" in first
    assert "0 of 6 done" in first
    seen = sum(row.result["samples_seen"] for row in found.rows)
    assert second == f"to train: 6 students, {seen:,} samples in all"
    assert "el2n (2 proxies, 360 samples)" in shared[0]
    assert "teacher (240 samples)" in shared[1]
    sweep(context, fractions="0.2", kd_weights="auto", seeds=2)
    assert "2 students, 96 samples in all, and the search for the KD weight in 2 of them" in capsys.readouterr().err


def test_a_sweep_of_another_configuration_or_dataset_is_refused(
    small: Dataset, make_context: MakeContext, tmp_path: Path, digits: Dataset
) -> None:
    grid: dict[str, Any] = {"fractions": "0.2", "kd_weights": "0", "seeds": 1, "out": tmp_path / "sweep"}
    sweep(make_context(small, *CHANGES), **grid)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Mismatch, match=r"about\.recipe\.train\.epochs is 2 there, 3 here"):
        sweep(make_context(small, *CHANGES, "train.epochs=3"), **grid)
    with pytest.raises(Mismatch, match=r"about\.threads is 1 there, 2 here"):
        sweep(make_context(small, *CHANGES, threads=2), **grid)
    with pytest.raises(Mismatch, match=r"about\.dataset is 'made-up' there, 'digits' here"):
        sweep(make_context(digits, *CHANGES), **grid)
    assert sorted(tmp_path.rglob("*")) == before


def test_teachers_that_cannot_teach_are_refused(
    small: Dataset, digits: Dataset, make_context: MakeContext, tmp_path: Path
) -> None:
    context = make_context(small, *CHANGES)
    teacher = api.teach(context, out=tmp_path / "teacher")
    other = api.teach(make_context(digits, "teacher.epochs=1"), out=tmp_path / "other")
    (tmp_path / "nothing").mkdir()
    refused: tuple[tuple[Any, type[DataPruningError], str], ...] = (
        (tmp_path / "nothing", BadFile, "no finished run"),
        (tmp_path / "missing", BadFile, "is not there"),
        ([teacher, other], Mismatch, "classes"),
        ([teacher, str(teacher.folder)], BadValue, "are the same network"),
        ("", BadValue, "it names no teachers"),
    )
    for teachers, kind, said in refused:
        with pytest.raises(kind, match=said):
            sweep(context, fractions="0.2", seeds=1, teachers=teachers, out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_rows_of_two_teachers_are_never_mixed(small: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context(small, *CHANGES)
    sweep(context, fractions="0.2", kd_weights="0.9", seeds=1, out=tmp_path / "sweep")
    elsewhere = make_context(small, *CHANGES, workspace=tmp_path / "elsewhere")
    api.teach(elsewhere)
    (model,) = (tmp_path / "elsewhere/teachers").rglob("model.safetensors")
    content = bytearray(model.read_bytes())
    content[-1] ^= 1  # as if trained on another kind of machine
    model.write_bytes(content)
    with pytest.raises(Mismatch, match="another network than the teacher of the rows that are done"):
        sweep(elsewhere, fractions="0.2", kd_weights="0.9", seeds=2, out=tmp_path / "sweep")
    found = sweep(elsewhere, fractions="0.2", kd_weights="0", seeds=2, out=tmp_path / "sweep")
    assert len(found.rows) == 2, "rows without a teacher have nothing to do with it"


def test_a_place_that_holds_something_else_is_refused(small: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine.txt").touch()
    for place in ("folder", "folder/mine.txt"):
        with pytest.raises(OutputTaken, match="holds something else"):
            sweep(make_context(small), out=tmp_path / place)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["mine.txt"]


def test_jobs_and_scorers_are_checked_first(small: Dataset, make_context: MakeContext, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="--jobs is at least 1, got 0"):
        sweep(make_context(small), jobs=0)
    with pytest.raises(BadValue, match="workers cannot open made-up by its name"):
        sweep(make_context(small), jobs=2)
    with pytest.raises(UnknownName, match="did you mean 'el2n'"):
        sweep(make_context(small), scorers="el2m")
    with pytest.raises(BadValue, match=r"early_epoch is 5.*2 epochs"):
        sweep(make_context(small, "evidence.early_epoch=5"), scorers="el2n")
    assert not list(tmp_path.iterdir())


def test_a_recipe_survives_the_way_to_a_worker(small: Dataset, make_context: MakeContext) -> None:
    recipe = make_context(small, "train.lr=0.125", "kd.grid=[0.0, 1.0]").recipe
    assert unpacked(json.loads(json.dumps(packed(recipe)))) == recipe


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
    (["--jobs", "0"], "--jobs is at least 1"),
    (["--teachers", "nowhere"], "teacher nowhere is not there"),
    (["--budget", "hours"], "unknown budget"),
    (["--threads", "0"], "--threads is at least 1"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=lambda v: "-".join(v) if isinstance(v, list) else "")
def test_bad_input_is_one_line_and_writes_nothing(refused: Callable[..., str], words: list[str], said: str) -> None:
    assert said in refused("sweep", *FAST, *words)


def test_another_store_is_refused_by_the_command(dprune: Callable[..., Answer], tmp_path: Path, small: Dataset) -> None:
    RowStore(tmp_path / "other", {"benchmark": "of something"})
    before = sorted(tmp_path.rglob("*"))
    answer = dprune("sweep", "--out", "other", *FAST)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("dprune: other is a store of other runs (about.benchmark is 'of something' there")
    assert answer.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


# Workers -------------------------------------------------------------------------------------------------------------

SHARED: dict[str, Any] = {"fractions": "0.1", "scorers": "random,el2n", "kd_weights": "0,0.9", "seeds": 2}
WORDS = [word for key, value in SHARED.items() for word in (f"--{key.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def undisturbed(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep of SHARED, done by one process in one go."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    return sweep(api.open_context(digits, changes=[*CONTEXT, *CHANGES], loader="resident", workspace=workspace), **SHARED)


@contextmanager
def command(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The installed command in a process group of its own, which does not outlive the block."""
    process = subprocess.Popen(
        [COMMAND, "sweep", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def claims(folder: Path) -> list[dict[str, Any]]:
    """Who is at a row just now."""
    found = []
    for path in (folder / "running").glob("[!.]*.json"):
        try:
            found.append(read_json(path))
        except BadFile:
            continue  # it ended just now
    return found


def at_a_row_without_kd(folder: Path) -> int | None:
    """The process of such a row."""
    return next((c["pid"] for c in claims(folder) if c["config"]["kd_weight"] == 0), None)


def test_workers_take_over_from_one_that_is_killed_and_go_on_past_a_row_that_fails(
    digits: Dataset, make_context: MakeContext, tmp_path: Path, dprune: Callable[..., Answer], undisturbed: Sweep
) -> None:
    folder = tmp_path / "s"
    last = undisturbed.rows[-1].config
    blocked = folder / run_folder(last, 144)
    with command(tmp_path, *WORDS, "--jobs", "2", "--out", "s", *FAST) as process:
        until(lambda: (folder / "store.json").exists())
        blocked.mkdir(parents=True)
        (blocked / "mine.txt").touch()
        os.kill(until(lambda: at_a_row_without_kd(folder)), signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    # a row takes less than a second: the signal may find the worker in it, or just behind its end
    assert re.search(r"worker [12] was ended by SIGKILL(?: in .*; another takes the row over|: it said nothing)", err), err
    assert "dprune: 1 of 8 rows failed, the first: s/runs/" in err
    assert "holds something else" in err
    assert "(1 of 2, 1 failed)" in out
    assert err.count("proxy 1 of 2:") == err.count("proxy 2 of 2:") == err.count("teacher: convnet") == 1
    logs = "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert not re.search(r"^(proxy|teacher: convnet)", logs, re.MULTILINE), "what is shared was there before they began"
    assert not claims(folder)

    left = dprune("sweep", *WORDS, "--out", "s", *FAST)
    assert (left.code, left.out) == (1, out)
    assert "--retry-failed tries them again" in left.err
    (blocked / "mine.txt").unlink()
    context = make_context(digits, *CHANGES, workspace=tmp_path / "dprune-runs")
    whole = sweep(context, **SHARED, out=folder, retry_failed=True)
    assert same_bits(whole, undisturbed)
    assert dprune("sweep", *WORDS, "--out", "s", *FAST).code == 0
    (done,) = (tmp_path / "dprune-runs/teachers").rglob("done.npy")
    assert sum(row.result.get("soft_labels_computed", 0) for row in whole.rows) == np.load(done).sum(), "each label once"


def test_a_worker_dies_with_its_parent_and_another_process_goes_on(
    digits: Dataset, make_context: MakeContext, tmp_path: Path, undisturbed: Sweep
) -> None:
    folder = tmp_path / "s"
    with command(tmp_path, *WORDS, "--out", "s", *FAST) as process:
        pid = until(lambda: next((c["pid"] for c in claims(folder)), None))
        process.kill()
        process.wait()
        until(lambda: gone(pid), 30)
    assert len(list((folder / "rows").glob("[!.]*.json"))) < 8
    context = make_context(digits, *CHANGES, workspace=tmp_path / "dprune-runs")
    assert same_bits(sweep(context, **SHARED, out=folder), undisturbed)


# A crew of made-up workers: what the parent makes of those that die -----------------------------------------------------

SUICIDE = """
import json, os, sys
sys.path.append(sys.argv[1])
from pathlib import Path
from datapruning.store import RowStore
task = json.loads(sys.stdin.readline())
def work(config):
    if config["seed"] == 1:
        os.kill(os.getpid(), 9)
    return {"test_accuracy": 50.0, "kd_weight": 0.0, "samples_seen": 1, "folder": "f"}
list(RowStore(Path(task["folder"]), task["about"]).fill(task["configs"], work))
"""


def made_up_crew(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Board, list[str]]:
    """A sweep of 3 seeds by two workers that run `script`; the board, and what was said."""
    monkeypatch.setattr(crews, "BOOT", script)
    grid = make_grid(100, "0.5", "random", "0", 3)
    board = Board(RowStore(folder, {"n": 1}), grid, Training())
    said: list[str] = []
    with Crew(2, folder, said.append) as crew:
        crew.go(Task("", None, {}, "", "", "", 1, str(folder), {"n": 1}, {}, board.configs))
        monkeypatch.setattr(verb, "POLL_SECONDS", 0.05)
        verb._watch(board, crew)
    return board, said


def test_a_row_that_kills_its_workers_is_kept_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board, _ = made_up_crew(tmp_path, SUICIDE, monkeypatch)
    assert [row.config["seed"] for row in board.rows()] == [0, 2]
    (failure,) = board.failures()
    assert failure.config["seed"] == 1
    assert failure.error == "its process was ended by SIGKILL, and so did another one in it before (out of memory?)"
    assert "another takes the row over" in capsys.readouterr().err


def test_workers_that_cannot_begin_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataPruningError, match="no worker is left, 3 rows are not done"):
        made_up_crew(tmp_path, "import sys; sys.exit('no such device')", monkeypatch)
    assert "ended with exit code 1: no such device (all of it: " in capsys.readouterr().err
