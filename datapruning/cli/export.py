"""`dprune export`: scores, subsets and weights for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.DataOptions,
    file: Annotated[Path, typer.Argument(help="A scores file, a subset file, or the folder of a finished run.")],
    out: Annotated[
        Path,
        typer.Option(help="Scores and subsets: .csv, .parquet, .txt or .npy. A run: .safetensors, or .npz with --sparse."),
    ],
    paths: Annotated[bool, typer.Option("--paths", help="The paths of the pictures (needs --data).")] = False,
    sparse: Annotated[bool, typer.Option("--sparse", help="Of a pruned run, only the weights that are kept.")] = False,
) -> None:
    """Write what others read: scores and subsets as tables or lists, a run's weights as plain tensors.

    A table (.csv, .parquet) has a row for each sample: id, score, stderr, or id, kept. A list (.txt) has an id a line, with
    --paths a path; of scores, the highest first.

    Example: dprune export el2n-30.npz --out el2n-30.csv
    """
    from datapruning.errors import InvalidFile, InvalidValue

    if file.is_dir():
        from datapruning.tools.export.export import SUFFIXES
        from datapruning.training.sparsity.export import export_weights

        if out.suffix in SUFFIXES:
            raise InvalidValue(f"{file} is a run folder, and {out.suffix} is for subsets: export {file / 'subset.npz'}")
        if paths or options.data is not None:
            raise InvalidValue(f"{file} is a run folder: its weights have no paths; leave --paths and --data out")
        o.print_result(export_weights(file, out, sparse=sparse))
        return
    from datapruning.tools.export.export import check_export, export
    from datapruning.tools.load import load_scores_or_subset

    if sparse:
        raise InvalidValue(f"--sparse is for the folder of a pruned run; {file} is none")
    if not file.exists():
        raise InvalidFile(f"{file} is not there; a scores file, a subset file or a run folder is needed here")
    check_export(out, paths)
    artifact = load_scores_or_subset(file)
    if paths and options.data is None:
        raise InvalidValue(f"--paths: say where {artifact.meta['dataset']} lies with --data")
    o.print_result(export(artifact, out, data=options.open_named(), paths=paths))
