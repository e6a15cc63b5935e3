"""The Python verb `sweep`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datapruning.config import plain
from datapruning.context import Context
from datapruning.data.dataset import Dataset
from datapruning.data.sources import SOURCES
from datapruning.errors import BadValue, DataPruningError, OutputTaken
from datapruning.files import write_text
from datapruning.opening import context_of
from datapruning.progress import console, hushed, say
from datapruning.runs import FinishedRun
from datapruning.scorer import Scorer
from datapruning.store import Failure, Row, RowStore
from datapruning.sweeping.announce import announce
from datapruning.sweeping.board import Board
from datapruning.sweeping.crew import Crew
from datapruning.sweeping.grid import make_grid
from datapruning.sweeping.listing import listed
from datapruning.sweeping.shared import (
    check_evidence,
    check_same_teacher,
    find_scorers,
    name_teachers,
    prepare,
    taught_by_the_recipe,
)
from datapruning.sweeping.show import Screen, shown
from datapruning.sweeping.student import Students
from datapruning.sweeping.table import caption, csv_text, markdown, table
from datapruning.sweeping.variants import check_variants, find_variants
from datapruning.sweeping.worker import Task, packed

Teachers = FinishedRun | str | Path | Sequence[FinishedRun | str | Path]
POLL_SECONDS = 0.5
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
        jobs: worker processes, each with the context's thread count; None: this process does the rows itself.
        retry_failed: try rows again that failed before.
        data_root: where workers find torchvision's sets, if not under the default root.

    Raises:
        BadValue, UnknownName, BadFile, Mismatch, OutputTaken: the user's mistakes, before anything is written.
        DataPruningError: all workers died before the end.
    """
    if jobs is not None and jobs < 1:
        raise BadValue(f"--jobs is at least 1, got {jobs}")
    context = context_of(data)
    if jobs is not None and not context.data.source and context.data.name not in SOURCES:
        raise BadValue(f"workers cannot open {context.data.name} by its name; leave jobs out, and start several processes")
    grid = make_grid(context.data.total, fractions, scorers, kd_weights, seeds)  # mistakes here are found at once
    context, variants = find_variants(context, epsd, prune_by, self_distill)
    grid = replace(grid, variants=variants)
    with hushed():
        check_variants(context, variants, grid.kd_weights)
    found = find_scorers(grid.scorers)
    check_evidence(context, found)
    named = name_teachers(context, _folders(teachers))
    grid = replace(grid, teachers={key: name for key, (name, _) in named.items()})
    about = {
        "dataset": context.data.name, "fingerprint": context.data.fingerprint, "recipe": plain(context.recipe),
        "threads": context.threads, "device": context.device.type,
    }  # fmt: skip
    folder = Path(out) if out is not None else context.place("sweeps", context.recipe.train.model, about)
    _refuse_foreign(folder)
    board = Board(RowStore(folder, about), grid, context.recipe.train)
    retried = board.forget_failures() if retry_failed else 0
    announce(context, board, found, jobs or 1, retried)
    places = {key: str(place) for key, (_, place) in named.items()}
    if board.left and jobs is None:
        _prepare(context, board, found)
        _fill_here(board, Students(context, folder, places, found))
    elif board.left:
        task = Task(
            context.data.source or context.data.name, None if data_root is None else str(data_root),
            packed(context.recipe), str(context.device), context.loader, str(context.root), context.threads,
            str(folder), about, places, board.configs,
        )  # fmt: skip
        with Crew(min(jobs or 1, len(board.left)), folder, say) as crew:
            _prepare(context, board, found)
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
        raise OutputTaken(f"{folder} holds something else (no store.json in it); name another --out")


def _folders(teachers: Teachers) -> list[Path]:
    if isinstance(teachers, FinishedRun | Path):
        teachers = [teachers]
    elif isinstance(teachers, str):
        teachers = listed(teachers, "teachers")
    return [t.folder if isinstance(t, FinishedRun) else Path(t) for t in teachers]


def _prepare(context: Context, board: Board, scorers: Mapping[str, Scorer]) -> None:
    prepare(context, board.left, scorers)
    if taught_by_the_recipe(board.left):
        check_same_teacher(context, board.rows())


def _fill_here(board: Board, students: Students) -> None:
    screen = Screen(board, console(), None)  # no live table: each run shows its own progress
    for _ in board.store.fill(board.left, students.train):
        screen.update(board.refresh())


def _watch(board: Board, crew: Crew) -> None:
    with shown(board) as screen:
        crew.tell = screen.line
        while True:
            screen.update(board.refresh())
            if not board.left:
                break
            if not crew.tend(board):
                board.refresh()
                if board.left:
                    raise DataPruningError(
                        f"no worker is left, {len(board.left)} rows are not done; the same command goes on where it was"
                    )
            time.sleep(POLL_SECONDS)
        crew.wait()
