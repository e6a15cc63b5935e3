"""`dprune influence`: which training samples helped which test samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli import options as o
from datapruning.utils.plural import plural

if TYPE_CHECKING:
    from datapruning.artifacts.influence import Influence
    from datapruning.data.dataset import Dataset

MAX_PRINTED = 10


def command(
    options: o.ContextOptions,
    top: Annotated[int, typer.Option(help="Training samples kept for each test sample.")] = 10,
    pairs: Annotated[str, typer.Option(help="same-class, or all.")] = "same-class",
    out: Annotated[
        Path | None, typer.Option(help="A file if it ends in .npz, else a folder.", show_default="in the workspace")
    ] = None,
    seed: o.Seed = 0,
) -> None:
    """Estimate how much each training sample helps each test sample, from networks trained with and without it.

    Reads the ensemble that memorization reads. Says how many pairs would look influential by chance alone.

    Example: dprune influence --data digits --set ensemble.num_members=100
    """
    from datapruning.analysis.influence import influence

    out = out or options.workspace / "influence"
    name = options.named_data()
    influences = influence(name, top=top, pairs=pairs, seed=seed, out=out, **options.settings)
    _print(influences, options.open_dataset(name), influences.output_path(out))


def _print(influences: Influence, data: Dataset, path: Path) -> None:
    """Print the strongest pairs as a table, the number expected by chance, and the path of the file."""
    from datapruning.experiments.sweep.table import markdown

    meta = influences.meta
    pairs_text = "pairs of one class" if meta.pairs == "same-class" else "pairs"
    o.print_result(
        f"{plural(meta.num_pairs_found, 'pair')} of high influence (memorization >= {meta.least_memorization:g}, "
        f"influence >= {meta.least_influence:g}) among {meta.considered:,} {pairs_text}, {meta.members} members."
    )
    assert meta.expected is not None  # `command` does not change the number of permutations
    spread = f" ± {meta.expected_sd:,.1f}" if meta.expected_sd is not None else ""
    o.print_result(
        f"By chance alone, if no training sample had any influence: {meta.expected:,.1f}{spread} pairs "
        f"({meta.permutations} permutations of the members)."
    )
    if meta.num_pairs_found and meta.expected > meta.num_pairs_found / 2:
        o.print_result(
            "Most of these pairs may be chance. More members tell (--set ensemble.num_members=...); those there are kept."
        )
    if meta.kept < meta.num_pairs_found:
        o.print_result(f"Kept are the {meta.kept:,} strongest.")
    if len(influences):
        head = ["test id", "class", "training id", "class", "influence", "stderr", "memorization"]
        test, train = data.test.labels, data.train.labels
        lines = [
            [
                str(j), data.class_names[test[j]], str(i), data.class_names[train[i]], f"{influences.influence[k]:.2f}",
                f"{influences.stderr[k]:.2f}", f"{influences.memorization[k]:.2f}",
            ]
            for k, (i, j) in enumerate(zip(influences.train_id[:MAX_PRINTED], influences.test_id[:MAX_PRINTED], strict=True))
        ]  # fmt: skip
        o.print_result("\n" + markdown([head, *lines]) + "\n")
        o.print_result("stderr is that of one pair. These are the largest of many, and therefore too large on average.")
    o.print_result(f"influence: {path}")
