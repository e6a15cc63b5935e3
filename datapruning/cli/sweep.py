"""`dprune sweep`: a student for every fraction, scorer, KD weight, seed, teacher, share of weights, self-distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import launcher_options as launchers
from datapruning.cli import options as o


def command(
    options: o.RunOptions,
    fractions: Annotated[str, typer.Option(help="Shares that are KEPT, separated by commas.")] = "0.1,0.3,1",
    scorers: Annotated[str, typer.Option(help="Who ranks the samples, separated by commas.")] = "random",
    kd_weights: Annotated[
        str, typer.Option(help="0 (labels alone) to 1 (teacher alone), or auto; commas between.")
    ] = "0,auto",
    seeds: Annotated[str, typer.Option(help="How many (3 means 0,1,2), or a list of them.")] = "3",
    teachers: Annotated[
        str | None, typer.Option(help="Run folders, separated by commas; each is a dimension.", show_default="the recipe's")
    ] = None,
    sparsity: Annotated[
        str | None,
        typer.Option(
            help="Prune students before training: shares of their weights that are REMOVED, 0 for none; commas between.",
            show_default="the recipe's",
        ),
    ] = None,
    criterion: Annotated[
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
    budget: o.Budget = None,
    model: o.StudentModel = None,
    jobs: Annotated[int, typer.Option(help="Workers, each with --threads threads.")] = 1,
    launcher: launchers.Name = "local",
    launcher_set: launchers.Settings = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try rows again that failed before.")] = False,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder.", show_default="in the workspace")] = None,
) -> None:
    """Train a student for every combination, by several workers. Stop it at any moment; the same command goes on.

    Finished rows are never done again: a larger grid does what is new. The same command from several shells shares the
    rows.

    Example: dprune sweep --fractions 0.1,0.3 --scorers random,el2n --jobs 2
    """
    from datapruning.errors import DataPruningError
    from datapruning.experiments.sweep.sweep import sweep
    from datapruning.experiments.workers.launcher import find_launcher

    result = sweep(
        options.named_data(),
        fractions=fractions,
        scorers=scorers,
        kd_weights=kd_weights,
        seeds=seeds,
        teachers=() if teachers is None else teachers,
        sparsity=sparsity,
        criterion=criterion,
        self_distill=self_distill,
        model=model,
        budget=budget,
        out=out,
        jobs=jobs,
        retry_failed=retry_failed,
        launcher=find_launcher(launcher, launcher_set or ()),
        **options.settings,
    )
    o.print_result(f"{result.table}\n{result.folder / 'table.md'}, {result.folder / 'rows.csv'}")
    if result.failures:
        raise DataPruningError(
            f"{len(result.failures)} of {len(result.failures) + len(result.rows)} rows failed, the first: "
            f"{result.failures[0].error} (all in {result.folder / 'failed'}); --retry-failed tries them again"
        )
