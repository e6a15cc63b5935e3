"""`dprune cache`: write the FFCV files beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    data: o.Data = None,
    subset: Annotated[
        Path | None,
        typer.Option(help="A subset file, or a .npy or .txt of ids or paths: write a compact cache of it alone."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder; with --subset, a .beton file.", show_default="in the workspace")
    ] = None,
    data_root: o.DataRoot = None,
    download: o.Download = False,
    workspace: o.Workspace = o.DEFAULT_WORKSPACE,
) -> None:
    """Write the FFCV cache of a dataset. Training does so by itself; this is for doing it beforehand.

    Example: dprune cache --data digits
    """
    from datapruning.api.cache import cache
    from datapruning.artifacts.subset_file import open_subset

    context = o.context_from(data, data_root, download, None, None, "cpu", "ffcv", workspace, None)
    chosen = None if subset is None else open_subset(subset, context.data)
    for path in cache(context, subset=chosen, out=out):
        o.result(f"{path} ({path.stat().st_size:,} bytes)")
