"""`--launcher` and `--launcher-set`: where the workers of a command run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli.options import ContextOptions

if TYPE_CHECKING:
    from datapruning.experiments.workers.launcher import Launcher
    from datapruning.runs.context import Context

Name = Annotated[str, typer.Option("--launcher", help="Where workers run: local, slurm or ray.")]
Settings = Annotated[
    list[str] | None, typer.Option("--launcher-set", help="A setting of slurm or ray: key=value, e.g. time=60. Repeatable.")
]


def open_context(launcher: Launcher, options: ContextOptions) -> Context:
    """The context as the workers have it; a GPU need not be here where they are on other machines."""
    from datapruning.experiments.workers.launcher import has_device, with_device

    wanted = launcher.resolve_device(options.device)
    here = wanted if has_device(wanted) or not launcher.is_remote else "cpu"
    context = replace(options, device=here).open_context()
    return context if here == wanted else with_device(context, wanted, options.loader)
