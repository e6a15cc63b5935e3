"""A worker process of a sweep: reads its task, one line of JSON, from stdin, and fills rows until none is left.

It lives no longer than the process that started it: when stdin ends, it ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datapruning.config import TABLES, Recipe, build, plain
from datapruning.context import Context, make_context
from datapruning.data.sources import open_dataset
from datapruning.errors import DataPruningError
from datapruning.memory import keep_freed_memory
from datapruning.progress import say
from datapruning.store import Failure, RowStore
from datapruning.sweeping.shared import find_scorers, scorer_names
from datapruning.sweeping.student import Students

ORPHANED = 3


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
        folder: the sweep's.
        about: what its store is for; the dataset that is opened here must be that one.
        teachers: hash of weights -> run folder.
        configs: the rows.
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


def packed(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data."""
    return {"name": recipe.name, "threads": recipe.threads, "tables": plain(recipe)}


def unpacked(value: Mapping[str, Any]) -> Recipe:
    """The recipe that `packed` made plain data of."""
    parts: dict[str, Any] = {name: build(kind, value["tables"].get(name, {}), name) for name, kind in TABLES.items()}
    return Recipe(value["name"], value["threads"], **parts)


def open_task(task: Task) -> tuple[Context, RowStore]:
    """The context of this process, and the store that all share.

    Raises:
        Mismatch: the dataset of that name is not the one the sweep was started with.
    """
    data = open_dataset(task.data, root=task.data_root, workspace=task.workspace)
    context = make_context(
        data, unpacked(task.recipe), device=task.device, loader=task.loader, root=task.workspace, threads=task.threads
    )
    return context, RowStore(Path(task.folder), {**task.about, "fingerprint": data.fingerprint})


def work(task: Task) -> None:
    """Fill rows until none is left."""
    context, store = open_task(task)
    students = Students(context, store.folder, task.teachers, find_scorers(scorer_names(task.configs)))
    for outcome in store.fill(task.configs, students.train):
        if isinstance(outcome, Failure):
            say(f"failed: {dict(outcome.config)}: {outcome.error}\n{outcome.traceback or ''}")


def main() -> int:
    """Exit code 0: no row is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one, which then ends it
    keep_freed_memory()
    _warm_up()
    line = _first_line()
    if not line:
        return ORPHANED
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        work(Task(**json.loads(line)))
    except DataPruningError as error:
        say(f"dprune: {error}")
        return 1
    return 0


def _warm_up() -> None:
    """One step of nothing: torch's first one imports for seconds, which can be done while the parent still prepares."""
    nothing = torch.nn.Parameter(torch.zeros(1))
    nothing.grad = torch.zeros(1)
    torch.optim.SGD([nothing], 0.0).step()


def _first_line() -> bytes:
    """Unbuffered, so that nothing lies between stdin and `_end_with_stdin`."""
    parts = []
    while (part := os.read(0, 65536)) and not part.endswith(b"\n"):
        parts.append(part)
    return b"".join([*parts, part]) if part else b""


def _end_with_stdin() -> None:
    while os.read(0, 65536):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
