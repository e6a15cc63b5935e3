"""The Python verb `sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datapruning.config.recipe import plain
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, OutputExists
from datapruning.experiments.sweep.grid import make_grid
from datapruning.experiments.sweep.live_table import Screen, shown
from datapruning.experiments.sweep.parse import listed
from datapruning.experiments.sweep.shared_artifacts import check_evidence, find_scorers, name_teachers, prepare
from datapruning.experiments.sweep.status import Board
from datapruning.experiments.sweep.summary import announce
from datapruning.experiments.sweep.table import caption, csv_text, markdown, table
from datapruning.experiments.sweep.trial import ENTRY, Students
from datapruning.experiments.sweep.variants import check_variants, find_variants
from datapruning.experiments.workers.launcher import LOCAL, Launcher, find_launcher, side_of
from datapruning.experiments.workers.monitor import watch
from datapruning.experiments.workers.task import check_reopens, task_of
from datapruning.experiments.workers.workers import Workers
from datapruning.io.atomic import write_text
from datapruning.io.trial_store import Failure, Row, RowStore
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of
from datapruning.runs.run import FinishedRun
from datapruning.utils.console import console, hushed, say

Teachers = FinishedRun | str | Path | Sequence[FinishedRun | str | Path]
TABLE, ROWS = "table.md", "rows.csv"


@dataclass(frozen=True)
class Sweep:
    """What a sweep ended with.

    Attributes:
        folder: where its rows, runs and tables lie.
        rows: finished rows, in the order of the grid; `row.result` is the run's result.json and `folder`, the run
            folder relative to the sweep's.
        failures: rows that failed.
        table: Markdown.
    """

    folder: Path
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    table: str


def sweep(
    data: Dataset | Context,
    *,
    fractions: str | Sequence[float | str] = "0.1,0.3,1",
    scorers: str | Sequence[str] = "random",
    kd_weights: str | Sequence[float | str] = "0,auto",
    seeds: str | int | Sequence[int] = 3,
    teachers: Teachers = (),
    epsd: str | Sequence[float | str] | None = None,
    prune_by: str | Sequence[str] | None = None,
    self_distill: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    retry_failed: bool = False,
    data_root: str | Path | None = None,
    launcher: str | Launcher = LOCAL,
) -> Sweep:
    """Train a student for every combination; each is a row that is done once, whoever does it.

    Stop it however you like and call it again: finished rows stay, a begun run goes on from its checkpoint. Called with a
    larger grid, it does what is new. Called from several processes, they share the rows.

    Args:
        data: a dataset, or a context for other than default settings.
        fractions: the shares that are kept; lists may be text, separated by commas.
        scorers: names. One that needs evidence scores once, for all seeds; others (random) draw anew for every seed.
        kd_weights: numbers in 0..1, and "auto".
        seeds: a list, or how many: 3 means 0, 1, 2.
        teachers: runs or run folders, each a dimension of its own; default: the recipe's teacher, trained if missing.
        epsd: shares of the students' weights that are removed before training, 0 for none; default: as the recipe has it.
        prune_by: criteria of that ("epsd", "snip", ...); a dense student comes once, whatever they are.
        self_distill: methods, "none" among them; default: the recipe's.
        out: the sweep's folder; default: one in the workspace, the same for every grid of the same settings.
        jobs: workers, each with the context's thread count; None: this process does the rows itself, or launches one.
        retry_failed: try rows again that failed before.
        data_root: where workers find torchvision's sets, if not under the default root.
        launcher: where workers run: "local" (processes of this machine), "slurm", "ray", or one that `find_launcher` made
            with settings (docs/launchers.md); no part of the sweep's identity.

    Raises:
        InvalidValue, UnknownName, InvalidFile, IncompatibleInputs, OutputExists, MissingPackage: the user's mistakes,
        before anything is
        written.
        DataPruningError: all workers died before the end.
    """
    if jobs is not None and jobs < 1:
        raise InvalidValue(f"--jobs is at least 1, got {jobs}")
    where = find_launcher(launcher) if isinstance(launcher, str) else launcher
    jobs = jobs or (1 if where.elsewhere else None)
    context = context_of(data)
    if jobs is not None:
        check_reopens(context)
    grid = make_grid(context.data.total, fractions, scorers, kd_weights, seeds)  # mistakes here are found at once
    context, variants = find_variants(context, epsd, prune_by, self_distill)
    grid = replace(grid, variants=variants)
    here = side_of(context)
    with hushed():
        check_variants(here, variants, grid.kd_weights)
    found = find_scorers(grid.scorers)
    check_evidence(context, found)
    named = name_teachers(here, _folders(teachers))
    grid = replace(grid, teachers={key: name for key, (name, _) in named.items()})
    about = {
        "dataset": context.data.name, "fingerprint": context.data.fingerprint, "recipe": plain(context.recipe),
        "threads": context.threads, "device": context.device.type,
    }  # fmt: skip
    folder = Path(out) if out is not None else context.place("sweeps", context.recipe.train.model, about)
    _refuse_foreign(folder)
    board = Board(RowStore(folder, about), grid, context.recipe.train)
    retried = board.forget_failures() if retry_failed else 0
    announce(here, board, found, 0 if where.elsewhere else jobs or 1, retried)
    places = {key: str(place) for key, (_, place) in named.items()}
    if board.left and jobs is None:
        prepare(context, board.left, found, board.rows())
        _fill_here(board, Students(context, folder, places, found))
    elif board.left:
        task = task_of(
            context, folder, board.configs, data_root, ENTRY, about=about, teachers=places, prepares=where.elsewhere
        )  # fmt: skip
        with where.crew(min(jobs or 1, len(board.left)), folder, say, context) as crew:
            if not where.elsewhere:
                prepare(context, board.left, found, board.rows())
            crew.go(task)
            _watch(board, crew)
    text = markdown(table(board)) + "\n\n" + caption(board, context.data.name)
    write_text(folder / TABLE, text + "\n")
    write_text(folder / ROWS, csv_text(board))
    return Sweep(folder, tuple(board.rows()), tuple(board.failures()), text)


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists() or (folder / "store.json").exists():
        return
    if not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir()):
        raise OutputExists(f"{folder} holds something else (no store.json in it); name another --out")


def _folders(teachers: Teachers) -> list[Path]:
    if isinstance(teachers, FinishedRun | Path):
        teachers = [teachers]
    elif isinstance(teachers, str):
        teachers = listed(teachers, "teachers")
    return [t.folder if isinstance(t, FinishedRun) else Path(t) for t in teachers]


def _fill_here(board: Board, students: Students) -> None:
    screen = Screen(board, console(), None)  # no live table: each run shows its own progress
    for _ in board.store.fill(board.left, students.train):
        screen.update(board.refresh())


def _watch(board: Board, crew: Workers) -> None:
    with shown(board) as screen:
        watch(board, crew, screen)
