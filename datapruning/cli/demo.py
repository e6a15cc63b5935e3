"""`dprune demo`: the whole story on the embedded digits."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli import options as o
from datapruning.utils.plural import plural

if TYPE_CHECKING:
    from datapruning.runs.context import Context
    from datapruning.runs.result import StudentResult
    from datapruning.runs.run import FinishedRun

FRACTION = "0.3"
ROWS: tuple[tuple[str, str, str, float | str], ...] = (
    ("all the data, no KD", "random", "1", 0.0),
    ("random 30%, no KD", "random", FRACTION, 0.0),
    ("random 30%, KD", "random", FRACTION, "auto"),
    ("EL2N 30%, KD", "el2n", FRACTION, "auto"),
    ("forgetting 30%, KD", "forgetting", FRACTION, "auto"),
)


def command(
    seeds: Annotated[int, typer.Option(help="Number of students of each kind.")] = 3,
    workspace: Annotated[Path, typer.Option(help="Folder for everything that is written.")] = o.DEFAULT_WORKSPACE,
    loader: Annotated[str, typer.Option(help="auto, ffcv, mmap or memory.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="torch threads.", show_default="the recipe's")] = None,
) -> None:
    """Score, select, teach and train on real handwritten digits, in a few minutes on a CPU.

    Example: dprune demo
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from datapruning.api.teach import teach
    from datapruning.data.registry import open_dataset
    from datapruning.errors import InvalidValue
    from datapruning.report import write_report
    from datapruning.runs.opening import open_context
    from datapruning.utils.console import info, quiet

    if seeds < 1:
        raise InvalidValue(f"at least 1 seed is needed, got {seeds}", parameter="seeds")
    data = open_dataset("digits")
    context = open_context(data, loader=loader, workspace=workspace, device="cpu", threads=threads)
    info(f"digits: {data.total:,} training and {len(data.test):,} test images; a teacher, {len(ROWS)} x {seeds} students")
    students: list[FinishedRun[StudentResult]] = []
    with quiet():
        teacher = teach(context)
    info(f"teacher on all the data: {teacher.test_accuracy:.2f}% on the test set")
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for column in ("student", "kept", "accuracy", "KD weights", "samples seen", "seconds"):
        table.add_column(column, no_wrap=True)
    for label, scorer, fraction, kd_weight in ROWS:
        with quiet():
            runs = [_student(context, scorer, fraction, kd_weight, seed) for seed in range(seeds)]
        students += runs
        info(f"{label}: {', '.join(f'{run.test_accuracy:.2f}%' for run in runs)}")
        results = [run.result for run in runs]
        weights = sorted({f"{result.kd_weight:g}" for result in results})
        seconds = statistics.mean(result.training_cost.seconds for result in results)
        accuracy = [run.test_accuracy for run in runs]
        spread = f" ± {statistics.stdev(accuracy):.2f}" if seeds > 1 else ""
        table.add_row(
            label, f"{results[0].kept:,}", f"{statistics.mean(accuracy):.2f}{spread}", ", ".join(weights),
            f"{results[0].samples_seen:,}", f"{seconds:.1f}",
        )  # fmt: skip
    page = write_report([run.folder for run in students], Path(workspace) / "demo.html", data="digits").page
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"Accuracy on the test set in percent, mean ± standard deviation over {plural(seeds, 'seed')}; seconds of training "
        "and of the search for the KD weight.\n"
        f"Made once and shared: the teacher ({teacher.test_accuracy:.2f}%, {teacher.result.training_cost.seconds:.0f} s), "
        "the evidence of the scorers, the soft labels.\n"
        f"Everything lies in {Path(workspace).resolve()}: teachers/, evidence/, students/ "
        "(each with its config.toml, result.json and subset.npz).\n"
        f"A report with curves, costs and images: {page.resolve()}\n"
        "Next: dprune train --fraction 0.5 --kd-weight auto, or dprune inspect on any of these folders."
    )


def _student(context: Context, scorer: str, fraction: str, kd_weight: float | str, seed: int) -> FinishedRun[StudentResult]:
    from datapruning.api.score import score
    from datapruning.api.score_paths import scores_path
    from datapruning.api.train import train

    scores = None if scorer == "random" else score(context, scorer, out=scores_path(context, scorer, 0))
    return train(context, fraction=fraction, scores=scores, kd_weight=kd_weight, seed=seed)
