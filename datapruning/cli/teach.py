"""`dprune teach`: a teacher on the full data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    data: o.Data = None,
    model: Annotated[str | None, typer.Option(help="The network.", show_default="the recipe's")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.", show_default="in the workspace")] = None,
    seed: o.Seed = 0,
    recipe: o.RecipeName = None,
    changes: o.Changes = None,
    log: o.Log = None,
    device: o.Device = "auto",
    loader: o.LoaderName = "auto",
    data_root: o.DataRoot = None,
    download: o.Download = False,
    workspace: o.Workspace = o.DEFAULT_WORKSPACE,
    threads: o.Threads = None,
) -> None:
    """Train a teacher on the full data. `dprune train` does so by itself where no teacher is named.

    Example: dprune teach --data digits --out teacher
    """
    from datapruning.api.teach import teach

    changed = [*(changes or ()), *([f"teacher.model={model}"] if model else [])]
    context = o.context_from(data, data_root, download, recipe, changed, device, loader, workspace, threads, log)
    finished = teach(context, seed=seed, out=out)
    o.result(f"test accuracy {finished.test_accuracy:.2f}%: {finished.folder}")
