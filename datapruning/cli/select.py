"""`dprune select`: from scores, or from ids chosen elsewhere, to a subset file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli import options as o

if TYPE_CHECKING:
    from datapruning.artifacts.subset import Subset


def command(
    options: o.DataOptions,
    scores: Annotated[Path | None, typer.Option(help="A scores file, or ready-made scores by name.")] = None,
    fraction: Annotated[str | None, typer.Option(help="The fraction that is KEPT, 0 < f <= 1.")] = None,
    ids: Annotated[
        Path | None, typer.Option(help="Instead of scores: a .npy, or a text file with one id or image path a line.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="How the kept samples are chosen; --list shows them.")] = "top",
    settings: o.StrategySettings = None,
    recording: Annotated[
        Path | None,
        typer.Option(help="Folder of the evidence that some strategies read.", show_default="that of the scores"),
    ] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="A .npy of embeddings of your own, instead of a recording.")
    ] = None,
    balance: Annotated[str, typer.Option(help="none, or class: keep the fraction in each class.")] = "none",
    exclude: Annotated[
        Path | None, typer.Option(help="Samples that are not kept: a subset, or a list as --ids takes it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file if it ends in .npz, else a folder.", show_default="in the workspace")
    ] = None,
    seed: o.Seed = 0,
    list_strategies: Annotated[
        bool, typer.Option("--list", help="List what each strategy keeps, reads and which settings it has.")
    ] = False,
) -> None:
    """Keep a fraction of the samples. Subsets of one scores file and seed are nested: the 10% lies inside the 30%.

    (All strategies but beta are, see --list.)

    Example: dprune select --scores el2n.npz --fraction 0.3
    """
    from datapruning.api.select import select, subset_path
    from datapruning.artifacts.save import save_if_new
    from datapruning.artifacts.subset_file import subset_from_file
    from datapruning.errors import InvalidValue
    from datapruning.runs.recorded_dataset import dataset_for
    from datapruning.selection.strategy import parse_settings

    if list_strategies:
        _print_strategies()
        return
    if (scores is None) == (ids is None):
        raise InvalidValue("say what to select from: --scores FILE with --fraction, or --ids FILE")
    if ids is not None:
        if strategy != "top" or settings or any(x is not None for x in (fraction, recording, embeddings, exclude)):
            raise InvalidValue(
                "--ids FILE keeps exactly those ids; --fraction, --strategy, --strategy-set, --recording, --embeddings and "
                "--exclude go with --scores"
            )
        subset = subset_from_file(ids, options.open_dataset(dataset_for(options.name, ids, o.DEFAULT_DATA)))
    else:
        assert scores is not None
        if fraction is None:
            raise InvalidValue("--fraction is missing: the share that is kept, for example 0.3")
        data = None if options.name is None else dataset_for(options.name, scores, o.DEFAULT_DATA)
        subset = select(
            scores, fraction, strategy=strategy, settings=parse_settings(settings or ()), balance=balance,
            data=data, recording=recording, embeddings=embeddings, seed=seed, exclude=exclude,
            data_root=options.data_root, download=options.download, workspace=options.workspace,
        )  # fmt: skip
    path = out if out is not None and out.suffix == ".npz" else subset_path(subset, out or options.workspace / "subsets")
    save_if_new(subset, path)
    o.print_result(f"{_describe(subset)}: {path}")


def _print_strategies() -> None:
    from datapruning.selection.strategies import find_strategies

    for name, strategy in sorted(find_strategies().items()):
        o.print_result(f"{name}\n" + "\n".join(f"  {what:<9}{text}" for what, text in strategy.describe()))


def _describe(subset: Subset) -> str:
    strategy = subset.meta.strategy or "top"
    how = "" if strategy in ("top", "random") else f"strategy {strategy}, "
    return f"{subset} (scorer {subset.meta.scorer}, {how}balance {subset.meta.balance or 'none'})"
