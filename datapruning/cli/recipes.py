"""`dprune recipes`: list, show and copy the recipes that come with the package."""

from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    action: Annotated[str, typer.Argument(help="list, show or copy.")] = "list",
    name: Annotated[str | None, typer.Argument(help="A recipe.")] = None,
    to: Annotated[Path | None, typer.Argument(help="Path of the copy.", show_default="NAME.toml")] = None,
) -> None:
    """List the recipes, show one, or copy one to change it.

    Example: dprune recipes show digits
    """
    from datapruning import recipes
    from datapruning.errors import InvalidValue, UnknownName

    if action not in ("list", "show", "copy"):
        raise UnknownName("action", action, ("list", "show", "copy"))
    if action == "list":
        for recipe in recipes.names():
            o.print_result(f"{recipe}: {recipes.about(recipe)}")
    elif name is None:
        raise InvalidValue(f"say which recipe to {action}: {', '.join(recipes.names())}")
    elif action == "show":
        o.print_result(recipes.path_of(name).read_text(encoding="utf-8").rstrip("\n"))
    else:
        o.print_result(str(recipes.copy(name, to)))
