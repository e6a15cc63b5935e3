"""`dprune diff`: how two files or runs differ."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.DataOptions,
    a: Annotated[Path, typer.Argument(metavar="A", help="A scores file, a subset file or a run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind, made from the same dataset.")],
    out: Annotated[
        Path | None, typer.Option(help="A page (.html) about two scores files or subsets, with images.", show_default=False)
    ] = None,
) -> None:
    """Compare two scores files, two subsets or two runs, also with what chance alone would give.

    With the dataset (--data), differences are listed by class, too.

    Example: dprune diff el2n-30.npz random-30.npz --data digits
    """
    from datapruning.tools.diff.diff import ComparedRun, diff, load_pair

    left, _ = load_pair(a, b)  # refuses wrong files before a dataset is opened
    data = (
        options.open_recorded(left.meta) if out is not None and not isinstance(left, ComparedRun) else options.open_named()
    )
    page = None
    if out is not None:
        from datapruning.tools.diff.page import write_diff_page

        page = write_diff_page(a, b, out, data=data)
    for line in diff(a, b, data=data):
        o.print_result(line)
    if page is not None:
        o.print_result(f"page: {page}")
