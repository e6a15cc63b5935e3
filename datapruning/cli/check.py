"""`dprune check`: is a recipe right, without running it."""

from __future__ import annotations

from typing import Annotated

import typer

from datapruning.cli import options as o


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or the path of a .toml (a run's config.toml too).")],
    options: o.DatasetOptions,
) -> None:
    """Check a recipe without running it: every key, type and value, and whether its networks take the dataset's pictures.

    A mistake is named with its line. Nothing is trained and nothing is written.

    Example: dprune check digits
    """
    from datapruning.data.registry import SOURCES
    from datapruning.errors import UserError
    from datapruning.recipes import path_of
    from datapruning.runs.opening import read_run_options
    from datapruning.tools.check import check_recipe, infer_input_shape, recipe_lines

    path = path_of(recipe)
    settings, run = check_recipe(path), read_run_options(path)
    named = options.name or (run.data if run else path.stem if path.stem in SOURCES else None)
    tried, images = "networks were not tried; name the dataset with --data", None
    try:
        images = infer_input_shape(named, options.data_root) if named else None
    except UserError as error:
        if options.data:
            raise
        tried = f"networks were not tried: {error}"
    if images is not None:
        check_recipe(path, images)
        tried = f"every network takes {images}"
    o.print_result(f"{path}: a valid recipe; nothing was run")
    for line in [*recipe_lines(settings), f"  {tried}"]:
        o.print_result(line)
