"""`dprune train`: a student on a fraction of the data."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.RunOptions,
    fraction: Annotated[str | None, typer.Option(help="The fraction that is KEPT, 0 < f <= 1.")] = None,
    kd_weight: Annotated[
        str | None, typer.Option(help="auto, or 0 (labels alone) to 1 (teacher alone).", show_default="auto")
    ] = None,
    scorer: Annotated[str | None, typer.Option(help="The scorer that ranks the samples.", show_default="random")] = None,
    scores: Annotated[Path | None, typer.Option(help="A scores file or ready-made scores, instead of --scorer.")] = None,
    subset: Annotated[
        Path | None, typer.Option(help="A subset file, or a .npy or .txt of ids or paths, instead of --fraction.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="How the kept samples are chosen, see dprune select --list.", show_default="top")
    ] = None,
    strategy_settings: o.StrategySettings = None,
    balance: Annotated[str | None, typer.Option(help="none, or class: keep the fraction in each class.")] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run folder, RUN@EPOCH for weights that it kept after an epoch, or a file of weights (.safetensors, "
            ".pth); several are averaged. auto: choose one of them (or of kd.teacher_candidates) and its epoch.",
            show_default="the recipe's",
        ),
    ] = None,
    allow_weak_teacher: o.AllowWeakTeacher = False,
    budget: o.Budget = None,
    samples: o.NumSamples = None,
    model: o.StudentModel = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    infobatch: Annotated[
        float | None,
        typer.Option(help="Skip this fraction of the easy samples each epoch (0.5; 0: none).", show_default="the recipe's"),
    ] = None,
    self_distill: Annotated[
        str | None,
        typer.Option(
            help="Add self-distillation: cs-kd, ps-kd, dlb, tf-kd, tf-kd-self or none.", show_default="the recipe's"
        ),
    ] = None,
    sparsity: Annotated[
        float | None,
        typer.Option(
            help="Prune the student before training: the fraction of its weights that is REMOVED.",
            show_default="the recipe's",
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="epsd, or a baseline: snip, grasp, synflow, prospr, magnitude, random.", show_default="the recipe's"
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Time limit in seconds: stop at the end of an epoch (exit code 3); the same command resumes."),
    ] = None,
    init: o.Init = None,
    out: o.RunFolder = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.", show_default="0", min=0, max=o.MAX_SEED)] = None,
) -> None:
    """Train a student on the samples that are kept, with soft labels of a teacher that saw all of them.

    Missing scores, teacher and soft labels are made first; what is there already is used. To repeat a run, name its
    config.toml as the recipe.

    Example: dprune train --data digits --fraction 0.5 --kd-weight auto
    """
    from datapruning.api.train import StudentOptions, rerun, train
    from datapruning.runs.run_config import read_run_options
    from datapruning.selection.strategy import parse_settings

    given: StudentOptions = {
        "fraction": fraction, "scorer": scorer, "scores": scores, "strategy": strategy,
        "settings": parse_settings(strategy_settings) if strategy_settings else None, "balance": balance, "budget": budget,
        "samples": samples,
        "model": model, "epochs": epochs, "batch_size": batch_size, "lr": lr, "infobatch": infobatch,
        "self_distill": self_distill, "sparsity": sparsity, "criterion": criterion,
        "max_seconds": max_seconds, "out": out,
    }  # fmt: skip
    if teacher:
        given["teacher"] = teacher
    given["allow_weak_teacher"] = allow_weak_teacher
    if kd_weight is not None:
        given["kd_weight"] = kd_weight
    if init is not None:
        given["init"] = init
    if seed is not None:
        given["seed"] = seed
    if options.recipe is not None and read_run_options(options.recipe) is not None:
        finished = rerun(options.recipe, options.name, subset, **given, **options.settings)
    else:
        finished = train(options.named_data(subset, scores, *(teacher or ())), subset, **given, **options.settings)
    result = finished.result
    kd_search, pruning = result.kd_weight_search, result.sparsity
    searched = f" at T={result.temperature:g}" if result.temperature else ""
    searched += ", resized crops" if kd_search and "resized" in kd_search.augmentation else ""
    searched += f" (found by a search that cost {kd_search.cost:.2f} trainings)" if kd_search else ""
    chosen = f", teacher {result.teacher[0].name} (chosen)" if result.teacher_candidates else ""
    method = f", self-distillation {result.self_distill.method}" if result.self_distill else ""
    pruned = f", {pruning.kept:,} of {pruning.total:,} weights by {pruning.settings.criterion}" if pruning else ""
    o.print_result(
        f"test accuracy {finished.test_accuracy:.2f}%, keeping {result.kept:,} of {result.total:,}, "
        f"KD weight {result.kd_weight:g}{searched}{chosen}{method}{pruned}, {result.samples_seen:,} samples seen: "
        f"{finished.folder}"
    )
