"""A worker's task: rows of a store and all that it takes to do them, as plain data that any machine can read."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datapruning.config.recipe import TABLES, Recipe, plain
from datapruning.config.validation import build
from datapruning.data.registry import ROOT_VARIABLE, SOURCES, open_dataset
from datapruning.errors import InvalidValue
from datapruning.io.trial_store import Config, RowStore, Work
from datapruning.runs.context import Context, make_context


@dataclass(frozen=True)
class Task:
    """All that a worker needs, as plain data.

    Attributes:
        data: name or path of the dataset.
        data_root: folder of the torchvision sets, or None.
        recipe: name, threads and tables.
        device: as resolved.
        loader: likewise.
        workspace: folder of caches, evidence and teachers.
        threads: torch threads.
        folder: of the store.
        about: what a sweep's store is for; the dataset that is opened here must be that one.
        teachers: of a sweep, hash of weights -> run folder.
        configs: the rows.
        log: tools that show the runs.
        entry: what opens the store and runs a trial, as "package.module:function", a function of the task and its context.
        seed: of the ensemble.
        prepares: the workers make what the rows of a sweep share; one does, the others wait for it.
        place: the working folder, where relative paths begin.
    """

    data: str
    data_root: str | None
    recipe: Mapping[str, Any]
    device: str
    loader: str
    workspace: str
    threads: int
    folder: str
    about: Mapping[str, Any]
    teachers: Mapping[str, str]
    configs: list[dict[str, Any]]
    entry: str
    log: Sequence[str] = ()
    seed: int = 0
    prepares: bool = False
    place: str = "."


def task_of(
    context: Context,
    store: Path,
    configs: Sequence[Config],
    data_root: str | Path | None,
    entry: str,
    *,
    about: Mapping[str, Any] | None = None,
    teachers: Mapping[str, str] | None = None,
    seed: int = 0,
    prepares: bool = False,
) -> Task:
    """The task of doing these rows as this context would."""
    root = data_root if data_root is not None else os.environ.get(ROOT_VARIABLE)
    return Task(
        context.data.source or context.data.name, None if root is None else str(root), packed(context.recipe),
        str(context.device), context.loader, str(context.root), context.threads, str(store), about or {}, teachers or {},
        [dict(config) for config in configs], entry, context.logs.tools, seed, prepares, os.getcwd(),
    )  # fmt: skip


def check_reopens(context: Context) -> None:
    """Workers open the dataset themselves, by its name or path.

    Raises:
        InvalidValue: this one has neither.
    """
    if not context.data.source and context.data.name not in SOURCES:
        raise InvalidValue(
            f"workers cannot open {context.data.name} by its name; leave jobs out, and start several processes"
        )


def packed(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data."""
    return {"name": recipe.name, "threads": recipe.threads, "tables": plain(recipe)}


def unpacked(value: Mapping[str, Any]) -> Recipe:
    """The recipe that `packed` made plain data of."""
    parts: dict[str, Any] = {name: build(kind, value["tables"].get(name, {}), name) for name, kind in TABLES.items()}
    return Recipe(value["name"], value["threads"], **parts)


def open_task(task: Task) -> tuple[RowStore, Work]:
    """The store that all workers share, and what does one of its rows in this process.

    Raises:
        IncompatibleInputs: the dataset of that name is not the one that the task is about.
    """
    data = open_dataset(task.data, root=task.data_root, workspace=task.workspace)
    context = make_context(
        data, unpacked(task.recipe), device=task.device, loader=task.loader, root=task.workspace, threads=task.threads,
        log=task.log,
    )  # fmt: skip
    module, _, name = task.entry.partition(":")
    opened: tuple[RowStore, Work] = getattr(importlib.import_module(module), name)(task, context)
    return opened
