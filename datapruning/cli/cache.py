"""`dprune cache`: write the FFCV files beforehand."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    options: o.DataOptions,
    subset: Annotated[
        Path | None,
        typer.Option(help="A subset file, or a .npy or .txt of ids or paths: write a compact cache of it alone."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder; with --subset, a .beton file.", show_default="in the workspace")
    ] = None,
) -> None:
    """Write the FFCV cache of a dataset. Training does so by itself; this is for doing it beforehand.

    Example: dprune cache --data digits
    """
    from datapruning.api.cache import cache
    from datapruning.runs.recorded_dataset import dataset_for

    files = cache(
        dataset_for(options.name, subset, o.DEFAULT_DATA), subset=subset, out=out, device="cpu", loader="ffcv",
        workspace=options.workspace, data_root=options.data_root, download=options.download,
    )  # fmt: skip
    for path in files:
        o.print_result(f"{path} ({path.stat().st_size:,} bytes)")
