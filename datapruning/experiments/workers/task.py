"""A worker's task: the trials of a store and all that it takes to run them, in a JSON file that any machine can read."""

import importlib
import os
from pathlib import Path
from typing import Any

from pydantic import Field

from datapruning.config.recipe import Recipe
from datapruning.data.registry import ROOT_VARIABLE, SOURCES, open_dataset
from datapruning.errors import InvalidValue
from datapruning.io.json import read_json, write_json
from datapruning.io.trial_store import TrialFn, TrialStore
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.utils.hashing import config_hash
from datapruning.utils.records import Record, parse_record


class ContextRecord(Record):
    """A context in words that any machine understands which has the same folders.

    Attributes:
        working_dir: folder that relative paths start from.
        data: name or path of the dataset.
        data_root: folder of the torchvision sets, or None.
        recipe: every setting.
        device: torch device, resolved.
        loader: name of the loader, resolved unless the worker is to choose.
        workspace: folder of caches, evidence and teachers.
        reuse: other workspaces whose finished work is used.
        threads: number of torch threads.
        log: names of the tools that show the runs.
    """

    working_dir: str
    data: str
    data_root: str | None
    recipe: Recipe
    device: str
    loader: str
    workspace: str
    reuse: tuple[str, ...]
    threads: int
    log: tuple[str, ...]


class Task(Record):
    """All that a worker needs to run trials.

    Attributes:
        entry: "package.module:function" that opens the store and says how to run a trial: a function of the task and of
            the worker's context.
        store: folder of the trial store.
        trials: their configurations.
        context: of the workers.
        about: what a sweep's store is for; the dataset that the worker opens must be that one.
        teachers: run folders of a sweep's teachers, by the hash of their weights.
        prepare_shared: whether the workers make what a sweep's trials share; one does, the others wait for it.
        allow_weak_teacher: whether the recipe's teacher may be near chance.
        seed: random seed of an ensemble.
    """

    entry: str
    store: str
    trials: tuple[dict[str, Any], ...]
    context: ContextRecord
    about: dict[str, Any] = Field(default_factory=dict)
    teachers: dict[str, str] = Field(default_factory=dict)
    prepare_shared: bool = False
    allow_weak_teacher: bool = False
    seed: int = 0


def record_context(context: Context, data_root: str | Path | None) -> ContextRecord:
    """The record of a context whose dataset was opened with this folder of the torchvision sets."""
    root = data_root if data_root is not None else os.environ.get(ROOT_VARIABLE)
    return ContextRecord(
        working_dir=os.getcwd(), data=context.data.source or context.data.name,
        data_root=None if root is None else str(root), recipe=context.recipe, device=str(context.device),
        loader=context.loader_kind, workspace=str(context.workspace),
        reuse=tuple(map(str, context.reuse)), threads=context.threads,
        log=tuple(context.loggers.tools),
    )  # fmt: skip


def check_reopens(context: Context) -> None:
    """Check that workers can open the dataset, which they do by its name or path.

    Raises:
        InvalidValue: it has neither.
    """
    if not context.data.source and context.data.name not in SOURCES:
        raise InvalidValue(
            f"workers cannot open {context.data.name} by its name; leave jobs out, and start several processes"
        )


def write_task(folder: Path, task: Task) -> Path:
    """Write a task into the folder of its store, under the hash of its content. Returns the path of the file."""
    value = task.model_dump(mode="json")
    path = folder.resolve() / "tasks" / f"{config_hash(value)}.json"
    write_json(path, value)
    return path


def open_task(path: Path) -> tuple[Task, TrialStore, TrialFn]:
    """The task in a file, with the store that all workers share and the function that runs one of its trials.

    This process moves to the task's working folder.

    Raises:
        InvalidFile: there is no task in the file. IncompatibleInputs: the store was made for another dataset.
    """
    task = parse_record(Task, read_json(path), str(path))
    record = task.context
    os.chdir(record.working_dir)
    data = open_dataset(record.data, root=record.data_root, workspace=record.workspace, reuse=record.reuse)
    context = open_context(
        data, recipe=record.recipe, device=record.device, loader=record.loader, workspace=record.workspace,
        reuse=record.reuse, threads=record.threads, log=record.log,
    )  # fmt: skip
    module, _, function = task.entry.partition(":")
    store, run_trial = getattr(importlib.import_module(module), function)(task, context)
    return task, store, run_trial
