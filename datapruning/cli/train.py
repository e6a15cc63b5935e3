"""`dprune train`: a student on a fraction of the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    data: o.Data = None,
    fraction: Annotated[str | None, typer.Option(help="The share that is KEPT, 0 < f <= 1.")] = None,
    kd_weight: Annotated[
        str | None, typer.Option(help="auto, or 0 (labels alone) to 1 (teacher alone).", show_default="auto")
    ] = None,
    scorer: Annotated[str | None, typer.Option(help="Who ranks the samples.", show_default="random")] = None,
    scores: Annotated[Path | None, typer.Option(help="A scores file, instead of --scorer.")] = None,
    subset: Annotated[
        Path | None, typer.Option(help="A subset file, or a .npy or .txt of ids or paths, instead of --fraction.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="How the kept ones are chosen, see dprune select --list.", show_default="top")
    ] = None,
    settings_of_strategy: o.With = None,
    balance: Annotated[str | None, typer.Option(help="none, or class: keep the fraction in each class.")] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run folder, or a file of weights (.safetensors, .pth); several are averaged. auto: choose one of them, "
            "or of kd.teacher_candidates.",
            show_default="the recipe's",
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="epochs, or steps: as many updates as the full data.", show_default="the recipe's")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The student's network.", show_default="the recipe's")] = None,
    infobatch: Annotated[
        float | None,
        typer.Option(help="Skip this share of the easy samples each epoch (0.5; 0: none).", show_default="the recipe's"),
    ] = None,
    self_distill: Annotated[
        str | None,
        typer.Option(
            help="Learn from oneself as well: cs-kd, ps-kd, dlb, tf-kd, tf-kd-self or none.", show_default="the recipe's"
        ),
    ] = None,
    epsd: Annotated[
        float | None,
        typer.Option(
            help="Prune the student before training: the share of its weights that is REMOVED.",
            show_default="the recipe's",
        ),
    ] = None,
    prune_by: Annotated[
        str | None,
        typer.Option(
            help="epsd, or a baseline: snip, grasp, synflow, prospr, magnitude, random.", show_default="the recipe's"
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Stop at the end of an epoch when these are up (exit code 3); the same command goes on."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.", show_default="in the workspace")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of all that is random.", show_default="0", min=0, max=o.MAX_SEED)
    ] = None,
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
    """Train a student on the samples that are kept, with soft labels of a teacher that saw all of them.

    Missing scores, teacher and soft labels are made first; what is there already is used. To repeat a run, name its
    config.toml as the recipe.

    Example: dprune train --data digits --fraction 0.5 --kd-weight auto
    """
    from datapruning.api.train import train
    from datapruning.artifacts.scores import load_scores
    from datapruning.artifacts.subset_file import open_subset
    from datapruning.errors import InvalidValue
    from datapruning.selection.settings import parse_settings
    from datapruning.utils.time_limit import TimeLimit

    limit = TimeLimit(max_seconds) if max_seconds is not None else None
    given = o.run_table(recipe)
    if given and fraction is None and subset is None:
        subset = Path(str(recipe)).parent / "subset.npz"
    if scores is not None and scorer is not None:
        raise InvalidValue("--scores FILE says who ranks; leave --scorer out")
    if subset is not None and any(
        each is not None for each in (fraction, scores, scorer, balance, strategy, settings_of_strategy)
    ):
        raise InvalidValue(
            "--subset says itself what is kept; leave --fraction, --scores, --scorer, --strategy, --strategy-set and "
            "--balance out"
        )
    weight = given.get("kd_weight", "auto") if kd_weight is None else kd_weight
    if weight != "auto":
        try:
            weight = float(weight)
        except ValueError:
            raise InvalidValue(f"the KD weight is a number in 0..1, or auto; got '{weight}'") from None
    context = o.context_from(data, data_root, download, recipe, changes, device, loader, workspace, threads, log)
    context = replace(context, limit=limit)
    settings = {"budget": budget, "model": model, "infobatch": infobatch}
    own = {key: value for key, value in settings.items() if value is not None}
    context = context.with_student(**own)  # the teacher stays the recipe's
    if self_distill is not None:
        context = context.with_table("self_distill", method=self_distill)
    if epsd is not None or prune_by is not None:
        context = context.with_epsd(epsd, prune_by)
    finished = train(
        context,
        open_subset(subset, context.data) if subset is not None else None,
        fraction=fraction,
        scorer=scorer or "random",
        scores=load_scores(scores) if scores is not None else None,
        strategy=strategy or "top",
        settings=parse_settings(settings_of_strategy or ()),
        balance=balance or "none",  # type: ignore[arg-type]
        teacher=teacher or given.get("teacher"),
        kd_weight=weight,
        seed=int(given.get("seed", 0)) if seed is None else seed,
        out=out,
    )
    result = finished.result
    kd_search, sparsity = result.kd_weight_search, result.sparsity
    searched = f" at T={result.temperature:g}" if result.temperature else ""
    searched += f" (found by a search that cost {kd_search.cost:.2f} trainings)" if kd_search else ""
    chosen = f", teacher {result.teacher[0].model} (chosen)" if result.teacher_candidates else ""
    method = f", self-distillation {result.self_distill.method}" if result.self_distill else ""
    pruned = f", {sparsity.kept:,} of {sparsity.total:,} weights by {sparsity.settings.criterion}" if sparsity else ""
    o.result(
        f"test accuracy {finished.test_accuracy:.2f}%, keeping {result.kept:,} of {result.total:,}, "
        f"KD weight {result.kd_weight:g}{searched}{chosen}{method}{pruned}, {result.samples_seen:,} samples seen: "
        f"{finished.folder}"
    )
