"""`dprune export`: a run's weights for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="The file: .safetensors, or .npz with --sparse.")],
    sparse: Annotated[bool, typer.Option("--sparse", help="Of a pruned run, only the weights that are kept.")] = False,
) -> None:
    """Write a run's weights as plain tensors, zeros included, or compact: the kept ones and where they belong.

    Example: dprune export dprune-runs/students/RUN --sparse --out student.npz
    """
    from datapruning.sparsity.export import export_weights

    o.result(export_weights(run, out, sparse=sparse))
