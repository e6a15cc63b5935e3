"""Opening a context: what a verb is given, a dataset or a context, becomes a context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datapruning import recipes
from datapruning.config.recipe import Recipe, read_recipe
from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DEFAULT_SIZE, parse_place
from datapruning.data.registry import is_of_files
from datapruning.runs.context import WORKSPACE, Context, make_context


def get_recipe(name: str | None, data: Dataset, changes: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """A recipe by name or path (default: the dataset's own) with `changes` applied, and its [run] table.

    Raises:
        UnknownName, InvalidFile, InvalidValue: no such recipe, or something in it is wrong.
    """
    return read_recipe(recipes.path_of(name or recipes.default_for(data.name, files=data.train_paths is not None)), changes)


def check_before_decoding(name: str, recipe: str | None, changes: Sequence[str] = ()) -> None:
    """Refuse a recipe that is wrong, or whose views are larger than the pictures, before pictures are decoded for it.

    Args:
        name: of the dataset, as `open_dataset` takes it; nothing is checked of one that is not made of picture files.
        recipe: a name or a path; None: the dataset's own.
        changes: "table.key=value" each.

    Raises:
        UnknownName, InvalidFile, InvalidValue: no such recipe, something in it is wrong, or its `views.size` is too large.
    """
    place = parse_place(name)
    if is_of_files(place.name):
        folder = Path(place.name.removeprefix("hf:")).expanduser().resolve().name
        found, _ = read_recipe(recipes.path_of(recipe or recipes.default_for(folder, files=True)), changes)
        side = place.size or DEFAULT_SIZE
        found.views.seen((side, side, 3))


def open_context(
    data: Dataset,
    *,
    recipe: str | Recipe | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    loader: str = "auto",
    workspace: str | Path = WORKSPACE,
    threads: int | None = None,
    log: Sequence[str] = (),
) -> Context:
    """Everything a verb needs beside its own arguments; pass it to several verbs to open loaders only once.

    Args:
        data: from `open_dataset`.
        recipe: a name, a path ending in .toml, or a `Recipe`; default: the dataset's own.
        changes: "table.key=value" each.
        device: "auto", "cpu", "cuda".
        loader: "auto", "ffcv", "mmap", "memory".
        workspace: folder for caches, evidence, scores, teachers and students.
        threads: torch threads; default: the recipe's, else as torch has them.
        log: tools that show runs: "tensorboard", "wandb", "mlflow" (docs/tracking.md).
    """
    found = recipe if isinstance(recipe, Recipe) else get_recipe(recipe, data, changes)[0]
    return make_context(data, found, device=device, loader=loader, root=workspace, threads=threads, log=log)


def context_of(data: Dataset | Context) -> Context:
    """What a verb was given, as a context: of a dataset, the one with default settings."""
    return data if isinstance(data, Context) else open_context(data)
