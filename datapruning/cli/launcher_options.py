"""`--launcher` and `--launcher-set`: where the workers of a verb run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli.options import context_from as context_here

if TYPE_CHECKING:
    from datapruning.experiments.workers.launcher import Launcher
    from datapruning.runs.context import Context

Name = Annotated[str, typer.Option("--launcher", help="Where workers run: local, slurm or ray.")]
Settings = Annotated[
    list[str] | None, typer.Option("--launcher-set", help="A setting of slurm or ray: key=value, e.g. time=60. Repeatable.")
]


def context_from(
    launcher: Launcher,
    data: str | None,
    root: Path | None,
    download: bool,
    recipe: str | None,
    changes: list[str] | None,
    device: str,
    loader: str,
    workspace: Path,
    threads: int | None,
    log: list[str] | None = None,
) -> Context:
    """The context as the workers have it; a GPU need not be here where they are elsewhere."""
    from datapruning.experiments.workers.launcher import has_device, with_device

    wanted = launcher.resolve_device(device)
    here = wanted if has_device(wanted) or not launcher.is_remote else "cpu"
    context = context_here(data, root, download, recipe, changes, here, loader, workspace, threads, log)
    return context if here == wanted else with_device(context, wanted, loader)
