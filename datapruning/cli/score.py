"""`dprune score`: a number for every training sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import launcher_options as launchers
from datapruning.cli import options as o

ALL = "all"


def command(
    data: o.Data = None,
    scorer: Annotated[str, typer.Option(help="Names, separated by commas; all: every one.")] = "el2n",
    model: Annotated[
        str | None,
        typer.Option(help="The network of proxies and members of an ensemble.", show_default="the recipe's"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file if it ends in .npz, else a folder.", show_default="in the workspace")
    ] = None,
    seed: o.Seed = 0,
    recording: Annotated[
        Path | None, typer.Option(help="Score a recording of your own training loop, instead of training proxies.")
    ] = None,
    recipe: o.RecipeName = None,
    changes: o.Changes = None,
    device: o.Device = "auto",
    loader: o.LoaderName = "auto",
    data_root: o.DataRoot = None,
    download: o.Download = False,
    workspace: o.Workspace = o.DEFAULT_WORKSPACE,
    threads: o.Threads = None,
    jobs: Annotated[
        int | None, typer.Option(help="Workers that train the members of an ensemble.", show_default="this process alone")
    ] = None,
    launcher: launchers.Name = "local",
    launcher_set: launchers.Settings = None,
    list_scorers: Annotated[bool, typer.Option("--list", help="Say what each scorer reads, costs and means.")] = False,
) -> None:
    """Score every training sample, higher = keep first. Writes one scores.npz a scorer.

    The members of a subset ensemble (memorization and others) can be trained by several workers.

    Example: dprune score --data digits --scorer el2n,forgetting
    """
    from datapruning.api.score import score, scores_place
    from datapruning.artifacts.scores import load_scores
    from datapruning.errors import InvalidValue, OutputExists
    from datapruning.experiments.workers.launcher import find_launcher
    from datapruning.experiments.workers.members import check_members, train_members
    from datapruning.runs.process_group import current
    from datapruning.scorers import find_scorers, get_scorer

    known = find_scorers()
    if list_scorers:
        for name, found in sorted(known.items()):
            reads = found.needs.__name__
            o.result(f"{name}\n  reads   {reads}\n  cost    {found.cost}\n  sign    {found.sign}\n  source  {found.source}")
        return
    names = [name.strip() for name in scorer.split(",") if name.strip()]
    if not names:
        raise InvalidValue("--scorer names no scorer; dprune score --list shows them")
    for name in [] if names == [ALL] else names:
        get_scorer(name)  # a wrong name is found before anything is trained
    if recording is not None:
        _score_recording(recording, names, out)
        return
    if names == [ALL]:
        names = list(known)
    if out is not None and out.suffix == ".npz" and len(names) > 1:
        raise InvalidValue(f"--out {out} is one file, but {len(names)} scorers write one each; name a folder")
    where = find_launcher(launcher, launcher_set or ())
    by_workers = jobs is not None or where.is_remote
    if by_workers and current() is not None:
        raise InvalidValue("under torchrun its processes share the work: leave --jobs and --launcher out")
    changed = [*(changes or ()), *([f"proxy.model={model}", f"ensemble_member.model={model}"] if model else [])]
    opening = (data, data_root, download, recipe, changed, device, loader, workspace, threads)
    context = launchers.context_from(where, *opening)
    if by_workers:
        check_members(context, [known[name] for name in names], 1 if jobs is None else jobs)
    places = {}
    for name in names:
        default = scores_place(context, name, seed)
        path = default if out is None else out if out.suffix == ".npz" else out / f"{name}.npz"
        if path.exists() and load_scores(path).scorer != name:  # before evidence is made for it
            raise OutputExists(f"{path} holds scores of another scorer; name another --out")
        places[name] = path
    o.say_price(context, [known[name] for name in names])
    if by_workers:
        train_members(context, seed, jobs=jobs or 1, launcher=where, data_root=data_root)
    for name, path in places.items():
        score(context, name, seed=seed, out=path)
        o.result(f"{name}: {path}")


def _score_recording(folder: Path, names: list[str], out: Path | None) -> None:
    from datapruning.api.score import score_recording, scorers_of
    from datapruning.artifacts.save import save_new
    from datapruning.errors import InvalidValue

    if names == [ALL]:
        names = scorers_of(folder)
    if out is not None and out.suffix == ".npz" and len(names) > 1:
        raise InvalidValue(f"--out {out} is one file, but {len(names)} scorers write one each; name a folder")
    scores = {name: score_recording(folder, name) for name in names}  # all or none are written
    place = folder / "scores" if out is None else out
    for name, found in scores.items():
        path = place if place.suffix == ".npz" else place / f"{name}.npz"
        save_new(found, path)
        o.result(f"{name}: {path}")
