"""`dprune select`: from scores, or from ids chosen elsewhere, to a subset file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    scores: Annotated[Path | None, typer.Option(help="A scores file.")] = None,
    fraction: Annotated[str | None, typer.Option(help="The share that is KEPT, 0 < f <= 1.")] = None,
    ids: Annotated[
        Path | None, typer.Option(help="Instead of scores: a .npy, or a text file with one id or picture path a line.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="How the kept ones are chosen; --list shows them.")] = "top",
    settings: o.With = None,
    recording: Annotated[
        Path | None,
        typer.Option(help="Folder of the evidence that some strategies read.", show_default="that of the scores"),
    ] = None,
    balance: Annotated[str, typer.Option(help="none, or class: keep the fraction in each class.")] = "none",
    out: Annotated[
        Path | None, typer.Option(help="A file if it ends in .npz, else a folder.", show_default="in the workspace")
    ] = None,
    seed: o.Seed = 0,
    data: o.Data = None,
    data_root: o.DataRoot = None,
    download: o.Download = False,
    workspace: o.Workspace = o.DEFAULT_WORKSPACE,
    list_strategies: Annotated[bool, typer.Option("--list", help="Say what each strategy keeps, reads and takes.")] = False,
) -> None:
    """Keep a fraction of the samples. Subsets of one scores file and seed are nested: the 10% lies inside the 30%.

    (All strategies but beta are, see --list.)

    Example: dprune select --scores el2n.npz --fraction 0.3
    """
    import hashlib

    from datapruning.api.select import select
    from datapruning.artifacts.save import save_new
    from datapruning.artifacts.scores import load_scores
    from datapruning.artifacts.subset_file import subset_from_file
    from datapruning.data.registry import SOURCES, open_dataset
    from datapruning.errors import InvalidValue
    from datapruning.selection.settings import parse_settings
    from datapruning.selection.strategies import find_strategies

    if list_strategies:
        for name, rule in sorted(find_strategies().items()):
            o.result(f"{name}\n" + "\n".join(f"  {what:<9}{text}" for what, text in rule.described()))
        return
    if (scores is None) == (ids is None):
        raise InvalidValue("say what to select from: --scores FILE with --fraction, or --ids FILE")
    if ids is not None:
        if fraction is not None:
            raise InvalidValue("--ids FILE keeps exactly those ids; --fraction goes with --scores")
        if strategy != "top" or settings or recording is not None:
            raise InvalidValue(
                "--ids FILE keeps exactly those ids; --strategy, --strategy-set and --recording go with --scores"
            )
        subset = subset_from_file(
            ids, open_dataset(data or "digits", root=data_root, download=download, workspace=workspace)
        )
    else:
        if fraction is None:
            raise InvalidValue("--fraction is missing: the share that is kept, for example 0.3")
        assert scores is not None
        given = parse_settings(settings or ())
        found = load_scores(scores)
        dataset = None
        if balance == "class" or data is not None:
            name = data or str(found.meta["dataset"])
            if data is None and name not in SOURCES:
                raise InvalidValue(f"balance 'class' needs the labels of {name}: say where it lies with --data")
            dataset = open_dataset(name, root=data_root, download=download, workspace=workspace)
        subset = select(
            found, fraction, strategy=strategy, settings=given, balance=balance,  # type: ignore[arg-type]
            data=dataset, recording=recording, seed=seed,
        )  # fmt: skip
    content = hashlib.sha256(subset.indices.tobytes()).hexdigest()[:8]
    by = [] if subset.meta.get("strategy", "top") in ("top", "random") else [subset.meta["strategy"]]
    name = "-".join([subset.meta["dataset"], subset.meta["scorer"], *by, str(len(subset)), content]) + ".npz"
    path = workspace / "subsets" / name if out is None else out if out.suffix == ".npz" else out / name
    save_new(subset, path)
    how = "".join(f"strategy {each}, " for each in by)
    o.result(f"{subset} (scorer {subset.meta['scorer']}, {how}balance {subset.meta.get('balance', 'none')}): {path}")
