"""`dprune inspect`: what a file is, where it came from, whether it is whole."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    path: Annotated[Path, typer.Argument(help="A file that dprune wrote, a dataset .npz, a recording, or a run folder.")],
) -> None:
    """Describe a file or a run folder: what it is, where it came from, and whether it is complete.

    Example: dprune inspect dprune-runs/students/my-run
    """
    from datapruning.tools.inspect import describe

    for line in describe(path):
        o.print_result(line)
