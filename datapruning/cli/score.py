"""`dprune score`: a number for every training sample."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import launcher_options as launchers
from datapruning.cli import options as o


def command(
    options: o.ContextOptions,
    scorer: Annotated[str, typer.Option(help="Scorers, separated by commas; all: every scorer.")] = "el2n",
    model: Annotated[
        str | None,
        typer.Option(help="The network of proxies and members of an ensemble.", show_default="the recipe's"),
    ] = None,
    init: o.Init = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="A .npy of embeddings of your own, a row a sample, instead of training proxies.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file if it ends in .npz, else a folder.", show_default="in the workspace")
    ] = None,
    seed: o.Seed = 0,
    recording: Annotated[
        Path | None, typer.Option(help="Score a recording of your own training loop, instead of training proxies.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Workers that train the members of an ensemble.", show_default="this process alone")
    ] = None,
    launcher: launchers.Name = "local",
    launcher_set: launchers.Settings = None,
    list_scorers: Annotated[bool, typer.Option("--list", help="List what each scorer reads, costs and means.")] = False,
) -> None:
    """Score every training sample, higher = keep first. Writes one scores.npz a scorer.

    The members of a subset ensemble (memorization and others) can be trained by several workers.

    Example: dprune score --data digits --scorer el2n,forgetting
    """
    from datapruning.errors import InvalidValue

    if list_scorers:
        _print_scorers()
    elif recording is not None:
        if embeddings is not None or init is not None:
            raise InvalidValue("a recording is scored as it is: leave --embeddings and --init out")
        _score_recording(recording, scorer, out)
    else:
        from datapruning.experiments.workers.launcher import find_launcher
        from datapruning.experiments.workers.score_all import score_all

        resolved_launcher = find_launcher(launcher, launcher_set or ())
        paths = score_all(
            options.named_data(), scorer, model=model, init=init, embeddings=embeddings, seed=seed, out=out, jobs=jobs,
            launcher=resolved_launcher, **options.settings,
        )  # fmt: skip
        for name, path in paths.items():
            o.print_result(f"{name}: {path}")


def _print_scorers() -> None:
    from datapruning.scorers import find_scorers

    for name, scorer in sorted(find_scorers().items()):
        o.print_result(
            f"{name}\n  reads   {scorer.needs.__name__}\n  cost    {scorer.cost}\n  sign    {scorer.sign}\n"
            f"  source  {scorer.source}"
        )


def _score_recording(folder: Path, scorer: str, out: Path | None) -> None:
    from datapruning.api.score import resolve_scorers, score_recording_by

    for name, path in score_recording_by(folder, resolve_scorers(scorer, folder), out=out).items():
        o.print_result(f"{name}: {path}")
