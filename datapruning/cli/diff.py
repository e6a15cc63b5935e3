"""`dprune diff`: how two files or runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    a: Annotated[Path, typer.Argument(metavar="A", help="A scores file, a subset file or a run folder.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind, made from the same dataset.")],
    data: Annotated[str | None, typer.Option(help="Their dataset: says also how they differ by class.")] = None,
    data_root: o.DataRoot = None,
    download: o.Download = False,
    workspace: o.Workspace = o.DEFAULT_WORKSPACE,
) -> None:
    """Say how two scores files, two subsets or two runs differ, and what chance alone would give.

    Example: dprune diff el2n-30.npz random-30.npz --data digits
    """
    from datapruning.data.registry import open_dataset
    from datapruning.tools.diff.diff import diff, load_pair

    load_pair(a, b)  # refuses wrong files before a dataset is opened
    dataset = None
    if data is not None:
        dataset = open_dataset(data, root=data_root, download=download, workspace=workspace)
    for line in diff(a, b, data=dataset):
        o.result(line)
