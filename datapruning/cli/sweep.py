"""`dprune sweep`: a student for every fraction, scorer, KD weight, seed, teacher, share of weights, self-distillation."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import launcher_options as launchers
from datapruning.cli import options as o
from datapruning.utils.plural import plural


def command(
    options: o.RunOptions,
    fractions: Annotated[str, typer.Option(help="Fractions that are KEPT, separated by commas.")] = "0.1,0.3,1",
    scorers: Annotated[str, typer.Option(help="Scorers that rank the samples, separated by commas.")] = "random",
    kd_weights: Annotated[
        str, typer.Option(help="0 (labels alone) to 1 (teacher alone), or auto; separated by commas.")
    ] = "0,auto",
    seeds: Annotated[str, typer.Option(help="Number of seeds (3 means 0,1,2), or a list of them.")] = "3",
    teachers: Annotated[
        str | None, typer.Option(help="Run folders, separated by commas; each is a dimension.", show_default="the recipe's")
    ] = None,
    allow_weak_teacher: o.AllowWeakTeacher = False,
    sparsity: Annotated[
        str | None,
        typer.Option(
            help="Prune students before training: fractions of weights REMOVED, 0 for none; separated by commas.",
            show_default="the recipe's",
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="epsd, or baselines: snip, grasp, synflow, prospr, magnitude, random; separated by commas.",
            show_default="the recipe's",
        ),
    ] = None,
    self_distill: Annotated[
        str | None,
        typer.Option(
            help="Add self-distillation: none, cs-kd, ps-kd, dlb, tf-kd, tf-kd-self; separated by commas.",
            show_default="the recipe's",
        ),
    ] = None,
    budget: o.Budget = None,
    samples: o.NumSamples = None,
    model: o.StudentModel = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    jobs: Annotated[int, typer.Option(help="Workers, each with --threads threads.")] = 1,
    launcher: launchers.Name = "local",
    launcher_set: launchers.Settings = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Retry trials that failed before.")] = False,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder.", show_default="in the workspace")] = None,
) -> None:
    """Train a student for every combination, by several workers. Stop it at any moment; the same command resumes.

    Finished trials are never repeated: a larger grid trains what is new. The same command in several shells shares the
    trials.

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
        allow_weak_teacher=allow_weak_teacher,
        sparsity=sparsity,
        criterion=criterion,
        self_distill=self_distill,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        budget=budget,
        samples=samples,
        out=out,
        jobs=jobs,
        retry_failed=retry_failed,
        launcher=find_launcher(launcher, launcher_set or ()),
        **options.settings,
    )
    o.print_result(f"{result.table}\n{result.folder / 'table.md'}, {result.folder / 'rows.csv'}")
    if result.failures:
        raise DataPruningError(
            f"{len(result.failures)} of {plural(len(result.failures) + len(result.trials), 'trial')} failed, the first: "
            f"{result.failures[0].error} (all in {result.folder / 'failed'}); --retry-failed tries them again"
        )
