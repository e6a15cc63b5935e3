"""Opening a context: what a verb is given, a dataset or a context, becomes a context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datapruning.config import Recipe, read_recipe
from datapruning.context import WORKSPACE, Context, make_context
from datapruning.data.dataset import Dataset
from datapruning.house import beside


def get_recipe(name: str | None, data: Dataset, changes: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """A recipe by name or path (default: the dataset's own) with `changes` applied, and its [run] table.

    Raises:
        UnknownName, BadFile, BadValue: no such recipe, or something in it is wrong.
    """
    recipes = beside("recipes")
    return read_recipe(recipes.path_of(name or recipes.default_for(data.name, files=data.train_paths is not None)), changes)


def open_context(
    data: Dataset,
    *,
    recipe: str | Recipe | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    loader: str = "auto",
    workspace: str | Path = WORKSPACE,
    threads: int | None = None,
) -> Context:
    """Everything a verb needs beside its own arguments; pass it to several verbs to open loaders only once.

    Args:
        data: from `open_dataset`.
        recipe: a name, a path ending in .toml, or a `Recipe`; default: the dataset's own.
        changes: "table.key=value" each.
        device: "auto", "cpu", "cuda".
        loader: "auto", "ffcv", "resident".
        workspace: folder for caches, evidence, scores, teachers and students.
        threads: torch threads; default: the recipe's, else as torch has them.
    """
    found = recipe if isinstance(recipe, Recipe) else get_recipe(recipe, data, changes)[0]
    return make_context(data, found, device=device, loader=loader, root=workspace, threads=threads)


def context_of(data: Dataset | Context) -> Context:
    """What a verb was given, as a context: of a dataset, the one with default settings."""
    return data if isinstance(data, Context) else open_context(data)
