"""`dprune sweep`: a student for every fraction, scorer, KD weight, seed, teacher, share of weights, self-distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import launcher_options as launchers
from datapruning.cli import options as o


def command(
    data: o.Data = None,
    fractions: Annotated[str, typer.Option(help="Shares that are KEPT, separated by commas.")] = "0.1,0.3,1",
    scorers: Annotated[str, typer.Option(help="Who ranks the samples, separated by commas.")] = "random",
    kd_weights: Annotated[
        str, typer.Option(help="0 (labels alone) to 1 (teacher alone), or auto; commas between.")
    ] = "0,auto",
    seeds: Annotated[str, typer.Option(help="How many (3 means 0,1,2), or a list of them.")] = "3",
    teachers: Annotated[
        str | None, typer.Option(help="Run folders, separated by commas; each is a dimension.", show_default="the recipe's")
    ] = None,
    epsd: Annotated[
        str | None,
        typer.Option(
            help="Prune students before training: shares of their weights that are REMOVED, 0 for none; commas between.",
            show_default="the recipe's",
        ),
    ] = None,
    prune_by: Annotated[
        str | None,
        typer.Option(
            help="epsd, or baselines: snip, grasp, synflow, prospr, magnitude, random; commas between.",
            show_default="the recipe's",
        ),
    ] = None,
    self_distill: Annotated[
        str | None,
        typer.Option(
            help="Learn from oneself as well: none, cs-kd, ps-kd, dlb, tf-kd, tf-kd-self; commas between.",
            show_default="the recipe's",
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="epochs, or steps: as many updates as the full data.", show_default="the recipe's")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The students' network.", show_default="the recipe's")] = None,
    jobs: Annotated[int, typer.Option(help="Workers, each with --threads threads.")] = 1,
    launcher: launchers.Name = "local",
    launcher_set: launchers.Settings = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try rows again that failed before.")] = False,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder.", show_default="in the workspace")] = None,
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
    """Train a student for every combination, by several workers. Stop it at any moment; the same command goes on.

    Finished rows are never done again: a larger grid does what is new. The same command from several shells shares the
    rows.

    Example: dprune sweep --fractions 0.1,0.3 --scorers random,el2n --jobs 2
    """
    from datapruning.errors import DataPruningError
    from datapruning.experiments.sweep.sweep import sweep
    from datapruning.experiments.workers.launcher import find_launcher

    where = find_launcher(launcher, launcher_set or ())
    opening = (data, data_root, download, recipe, changes, device, loader, workspace, threads, log)
    context = launchers.context_from(where, *opening)
    own = {key: value for key, value in (("budget", budget), ("model", model)) if value is not None}
    found = sweep(
        context.with_student(**own),  # the teacher stays the recipe's
        fractions=fractions,
        scorers=scorers,
        kd_weights=kd_weights,
        seeds=seeds,
        teachers=() if teachers is None else teachers,
        epsd=epsd,
        prune_by=prune_by,
        self_distill=self_distill,
        out=out,
        jobs=jobs,
        retry_failed=retry_failed,
        data_root=data_root,
        launcher=where,
    )
    o.result(f"{found.table}\n{found.folder / 'table.md'}, {found.folder / 'rows.csv'}")
    if found.failures:
        raise DataPruningError(
            f"{len(found.failures)} of {len(found.failures) + len(found.rows)} rows failed, the first: "
            f"{found.failures[0].error} (all in {found.folder / 'failed'}); --retry-failed tries them again"
        )
