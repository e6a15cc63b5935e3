"""`dprune report`: a page about student runs."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.DatasetOptions,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, sweep folders or workspaces.", show_default=str(o.DEFAULT_WORKSPACE)),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page; its figures go to a folder next to it.")] = Path("report.html"),
    scores: Annotated[
        list[Path] | None, typer.Option(help="A scores file, or a folder of them, in addition to those found. Repeatable.")
    ] = None,
    label_issues: Annotated[
        list[Path] | None,
        typer.Option(help="A list of label issues (.csv) in addition to those in the workspace. Repeatable."),
    ] = None,
) -> None:
    """Write one self-contained HTML page about student runs, and its figures as PNG and SVG.

    Example: dprune report dprune-runs
    """
    from datapruning.io.disk_space import format_bytes
    from datapruning.report import write_report

    written = write_report(
        runs or [o.DEFAULT_WORKSPACE],
        out,
        data=options.name,
        data_root=options.data_root,
        scores=scores or (),
        label_issues=label_issues or (),
    )
    size = format_bytes(written.page.stat().st_size)
    o.print_result(
        f"{written.runs} {'run' if written.runs == 1 else 'runs'}, {size}: {written.page}, figures in {written.figures}"
    )
