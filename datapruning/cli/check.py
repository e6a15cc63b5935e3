"""`dprune check`: is a recipe right, without running it."""

from __future__ import annotations

from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a .toml (a run's config.toml too).")],
) -> None:
    """Check a recipe without running it: every key, type and value. A mistake is named with its line.

    Example: dprune check digits
    """
    from datapruning.exchange.checking import check_recipe, recipe_lines
    from datapruning.house import beside

    path = beside("recipes").path_of(recipe)
    found = check_recipe(path)
    o.run_table(str(path))
    o.result(f"{path}: a recipe, whole; nothing was run")
    for line in recipe_lines(found):
        o.result(line)
