"""`dprune duplicates`: pairs of training samples that are nearly the same."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o
from datapruning.utils.plural import plural


def command(
    options: o.ContextOptions,
    distance: Annotated[float, typer.Option(help="Largest cosine distance of a pair: 0 (equal) to 2.")] = 0.05,
    embeddings: Annotated[
        Path | None, typer.Option(help="A .npy of embeddings of your own, a row a sample.", show_default="of a proxy")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The .csv to write.", show_default="in the workspace")] = None,
    seed: o.Seed = 0,
) -> None:
    """List near duplicates among the training samples: pairs of ids with the distance of their embeddings, nearest first.

    Example: dprune duplicates --data digits --distance 0.02 --out near-duplicates.csv
    """
    from datapruning.analysis.near_duplicates import find_near_duplicates
    from datapruning.errors import InvalidValue

    if out is not None and out.suffix != ".csv":
        raise InvalidValue(f"{out}: pairs are written as .csv", parameter="out")
    pairs = find_near_duplicates(options.named_data(), distance, embeddings=embeddings, seed=seed, **options.settings)
    path = out or options.workspace / "near-duplicates" / f"{pairs.data.name}-{distance:g}-{len(pairs)}.csv"
    pairs.save(path)
    o.print_result(
        f"{plural(len(pairs), 'pair')}, {int(pairs.have_other_labels.sum()):,} of them with different labels: {path}"
    )
