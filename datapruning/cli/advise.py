"""`dprune advise`: how small a fraction may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    data: o.Data = None,
    tolerance: Annotated[str, typer.Option(help="Points of accuracy that may be lost.")] = "0.5",
    scorer: Annotated[str, typer.Option(help="Who ranks the samples.")] = "random",
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="A run folder. Repeatable.", show_default="one trained without the hold-out"),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="epochs, or steps: as many updates as the full data.", show_default="the recipe's")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The student's network.", show_default="the recipe's")] = None,
    out: Annotated[Path | None, typer.Option(help="The advice's folder.", show_default="in the workspace")] = None,
    seed: o.Seed = 0,
    recipe: o.RecipeName = None,
    changes: o.Changes = None,
    device: o.Device = "auto",
    loader: o.LoaderName = "auto",
    data_root: o.DataRoot = None,
    download: o.Download = False,
    workspace: o.Workspace = o.DEFAULT_WORKSPACE,
    threads: o.Threads = None,
) -> None:
    """Find the smallest fraction that loses no more than a few tenths of a point against all the data without KD.

    Trains once on all the data but a hold-out, then pilots with KD at a few small fractions. Says what that costs before it
    starts, and when it pays off. The test set is not used. Another tolerance uses the same pilots.

    Example: dprune advise --data digits --tolerance 0.5
    """
    from datapruning.analysis.advise.advise import advise, parse_tolerance

    points = parse_tolerance(tolerance)  # before the data is opened
    context = o.context_from(data, data_root, download, recipe, changes, device, loader, workspace, threads)
    own = {key: value for key, value in (("budget", budget), ("model", model)) if value is not None}
    advice = advise(context.with_student(**own), points, scorer=scorer, teacher=teacher, seed=seed, out=out)
    o.result(advice.text)
