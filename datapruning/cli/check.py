"""`dprune check`: is a recipe right, without running it."""

from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a .toml (a run's config.toml too).")],
    options: o.DatasetOptions,
) -> None:
    """Check a recipe without running it: every key, type and value, and whether its networks take the dataset's images.

    A mistake is named with its line. Nothing is trained and nothing is written.

    Example: dprune check digits
    """
    from datapruning.tools.check import check

    for line in check(recipe, options.name, data_root=options.data_root):
        o.print_result(line)
