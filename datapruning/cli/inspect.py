"""`dprune inspect`: what files are, where they came from, whether they are whole; and a page about scores."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.DataOptions,
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files that dprune wrote, ready-made scores, dataset .npz files, recordings, or run folders."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="A page (.html) about scores files: histograms, classes, agreement, images.")
    ] = None,
    fraction: Annotated[str, typer.Option(help="With --out, the share of the samples that counts as kept.")] = "0.3",
) -> None:
    """Describe files or run folders: what they are, where they came from, and whether they are complete.

    With --out, also write a page about scores files: for each class, the samples with the highest and the lowest scores.

    Example: dprune inspect dprune-runs/students/my-run
    """
    from datapruning.tools.inspect import describe

    page = _write_page(options, paths, out, fraction) if out is not None else None
    for path in paths:
        for line in describe(path):
            o.print_result(line)
    if page is not None:
        o.print_result(f"page: {page}")


def _write_page(options: o.DataOptions, paths: list[Path], out: Path, fraction: str) -> Path:
    from datapruning.artifacts.scores import load_scores
    from datapruning.report.scores_page import write_scores_page

    return write_scores_page(paths, out, data=options.open_recorded(load_scores(paths[0]).meta), fraction=fraction)
