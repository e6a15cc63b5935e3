"""`dprune recipes`: list, show and copy the recipes that come with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    action: Annotated[str, typer.Argument(help="list, show or copy.")] = "list",
    name: Annotated[str | None, typer.Argument(help="A recipe.")] = None,
    to: Annotated[Path | None, typer.Argument(help="Where the copy goes.", show_default="NAME.toml")] = None,
) -> None:
    """List the recipes, show one, or copy one to change it.

    Example: dprune recipes show digits
    """
    from datapruning.errors import InvalidValue, OutputExists, UnknownName
    from datapruning.io.atomic import write_text
    from datapruning.recipes import names, path_of

    if action not in ("list", "show", "copy"):
        raise UnknownName("action", action, ("list", "show", "copy"))
    if action == "list":
        for each in names():
            o.print_result(f"{each}: {tomllib.loads(path_of(each).read_text(encoding='utf-8'))['about']}")
        return
    if name is None:
        raise InvalidValue(f"say which recipe to {action}: {', '.join(names())}")
    text = path_of(name).read_text(encoding="utf-8")
    if action == "show":
        o.print_result(text.rstrip("\n"))
        return
    to = to or Path(f"{name}.toml")
    if to.exists():
        raise OutputExists(f"{to} exists; name another place")
    write_text(to, text)
    o.print_result(str(to))
