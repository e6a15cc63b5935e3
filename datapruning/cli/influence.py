"""`dprune influence`: which training samples helped which test samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli import options as o

if TYPE_CHECKING:
    from datapruning.artifacts.influence import Influence
    from datapruning.data.dataset import Dataset

SHOWN = 10


def command(
    data: o.Data = None,
    top: Annotated[int, typer.Option(help="Training samples that are kept of each test sample.")] = 10,
    pairs: Annotated[str, typer.Option(help="same-class, or all.")] = "same-class",
    out: Annotated[
        Path | None, typer.Option(help="A file if it ends in .npz, else a folder.", show_default="in the workspace")
    ] = None,
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
    """Estimate how much each training sample helps each test sample, from networks trained with and without it.

    Reads the ensemble that memorization reads. Says how many pairs would look influential by chance alone.

    Example: dprune influence --data digits --set ensemble.num_members=100
    """
    from datapruning.analysis import influence as i
    from datapruning.scorers import get_scorer

    i.check_arguments(top, pairs)
    context = o.context_from(data, data_root, download, recipe, changes, device, loader, workspace, threads)
    o.say_price(context, [get_scorer("memorization")])
    place = i.influence_path(context, pairs, top, seed)
    path = place if out is None else out if out.suffix == ".npz" else out / place.name
    found = i.influence(context, top=top, pairs=pairs, seed=seed, out=path)
    _show(found, context.data, path)


def _show(found: Influence, data: Dataset, path: Path) -> None:
    """The strongest pairs as a table, against chance, and where all are."""
    from datapruning.experiments.sweep.table import markdown

    meta = found.meta
    of_what = "pairs of one class" if meta["pairs"] == "same-class" else "pairs"
    o.result(
        f"{meta['found']:,} pairs of high influence (memorization >= {meta['least_memorization']:g}, influence >= "
        f"{meta['least_influence']:g}) among {meta['considered']:,} {of_what}, {meta['members']} members."
    )
    spread = f" ± {meta['expected_sd']:,.1f}" if meta["expected_sd"] is not None else ""
    o.result(
        f"By chance alone, if no training sample had any influence: {meta['expected']:,.1f}{spread} pairs "
        f"({meta['permutations']} permutations of the members)."
    )
    if meta["found"] and meta["expected"] > meta["found"] / 2:
        o.result(
            "Most of these pairs may be chance. More members tell (--set ensemble.num_members=...); those there are kept."
        )
    if meta["kept"] < meta["found"]:
        o.result(f"Kept are the {meta['kept']:,} strongest.")
    if len(found):
        head = ["test id", "class", "training id", "class", "influence", "stderr", "memorization"]
        test, train = data.test.labels, data.train.labels
        lines = [
            [
                str(j), data.class_names[test[j]], str(i), data.class_names[train[i]], f"{found.influence[k]:.2f}",
                f"{found.stderr[k]:.2f}", f"{found.memorization[k]:.2f}",
            ]
            for k, (i, j) in enumerate(zip(found.train_id[:SHOWN], found.test_id[:SHOWN], strict=True))
        ]  # fmt: skip
        o.result("\n" + markdown([head, *lines]) + "\n")
        o.result("stderr is that of one pair. These are the largest of many, and therefore too large on average.")
    o.result(f"influence: {path}")
