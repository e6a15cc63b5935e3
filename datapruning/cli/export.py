"""`dprune export`: scores, subsets and weights for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.DataOptions,
    file: Annotated[Path, typer.Argument(help="A scores file, a subset file, or the folder of a finished run.")],
    out: Annotated[
        Path,
        typer.Option(
            help="Scores and subsets: .csv, .parquet, .txt or .npy. A run: .onnx, .pt2 or .safetensors; .npz with --sparse."
        ),
    ],
    paths: Annotated[bool, typer.Option("--paths", help="The paths of the images (needs --data).")] = False,
    sparse: Annotated[bool, typer.Option("--sparse", help="Of a pruned run, only the weights that are kept.")] = False,
    with_preprocessing: Annotated[
        bool, typer.Option("--with-preprocessing", help="Of a run: the network takes uint8 images [N, H, W, C].")
    ] = False,
) -> None:
    """Write what others read: scores and subsets as tables or lists, a run's network.

    A table (.csv, .parquet) has a row for each sample: id, score, stderr, or id, kept. A list (.txt) has an id a line, with
    --paths a path; of scores, the highest first.

    Example: dprune export el2n-30.npz --out el2n-30.csv
    """
    from datapruning.tools.export import export

    o.print_result(
        export(
            file, out, data=options.name, paths=paths, sparse=sparse, with_preprocessing=with_preprocessing,
            data_root=options.data_root, download=options.download, workspace=options.workspace,
        )
    )  # fmt: skip
