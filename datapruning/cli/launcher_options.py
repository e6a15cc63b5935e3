"""`--launcher` and `--launcher-set`: where the workers of a command run."""

from typing import Annotated

import typer

Name = Annotated[str, typer.Option("--launcher", help="Where workers run: local, slurm or ray.")]
Settings = Annotated[
    list[str] | None, typer.Option("--launcher-set", help="A setting of slurm or ray: key=value, e.g. time=60. Repeatable.")
]
