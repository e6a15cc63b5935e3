"""Paths of pictures: what a dataset that was read from files can be exchanged by, beside sample ids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import parse_dataset_spec
from datapruning.errors import InvalidFile, InvalidValue

MAX_SHOWN_CHARS = 200
"""Letters of a line that a message repeats."""
MAX_PATH_CHARS = 4096
"""No path is longer."""


def needed_paths(data: Dataset) -> tuple[str, ...]:
    """The paths of the training samples, relative to the dataset's folder, in the order of the ids.

    Raises:
        InvalidValue: the samples of this dataset are no files.
    """
    found = data.train_paths
    if found is None:
        raise InvalidValue(f"{data.name} has no files: its samples have ids alone, leave --paths out")
    return found


def ids_of_paths(lines: Sequence[tuple[int, str]], data: Dataset, where: Path) -> list[int]:
    """Sample ids of picture paths: relative to the dataset's folder, to the present folder, or absolute.

    Args:
        lines: (line number, path) each.
        data: whose training pictures they are.
        where: the file the lines stand in, for messages.

    Raises:
        InvalidFile: naming the first line that is no training picture, or one that stands there twice.
    """
    ids = {path: number for number, path in enumerate(needed_paths(data))}
    root = Path(parse_dataset_spec(data.source).name).resolve()
    seen: dict[int, int] = {}
    for number, line in lines:
        found = next((ids[name] for name in _names(line, root) if name in ids), None)
        if found is None:
            example = next(iter(ids))
            raise InvalidFile(
                f"{where}, line {number}: '{line[:MAX_SHOWN_CHARS]}' is no training picture of {data.name}; "
                f"its paths look like '{example}'"
            )
        if found in seen:
            raise InvalidFile(f"{where}, line {number}: '{line[:MAX_SHOWN_CHARS]}' stands in line {seen[found]} already")
        seen[found] = number
    return list(seen)


def _names(line: str, root: Path) -> list[str]:
    """What `line` may be called in the dataset, from the likeliest on. Nothing is opened, wherever it may lead."""
    if len(line) > MAX_PATH_CHARS or "\0" in line:
        return []
    plain = os.path.normpath(line.replace("\\", "/")) if "\\" in line else os.path.normpath(line)
    absolute = Path(os.path.abspath(plain))
    try:
        real = absolute.parent.resolve() / absolute.name  # the folder may be reached through a link, the picture may be one
    except (OSError, RuntimeError):  # links in a circle
        real = absolute
    inside = [path.relative_to(root).as_posix() for path in (absolute, real) if path.is_relative_to(root)]
    return [line, plain, *inside]
