"""`dprune diff`: how two files or runs differ."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.DataOptions,
    a: Annotated[Path, typer.Argument(metavar="A", help="A scores file, a subset file or a run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind, made from the same dataset.")],
) -> None:
    """Compare two scores files, two subsets or two runs, also with what chance alone would give.

    With the dataset (--data), differences are listed by class, too.

    Example: dprune diff el2n-30.npz random-30.npz --data digits
    """
    from datapruning.tools.diff.diff import diff, load_pair

    load_pair(a, b)  # refuses wrong files before a dataset is opened
    for line in diff(a, b, data=options.open_named()):
        o.print_result(line)
