"""Image paths: the names of samples, besides their ids, in a dataset that was read from files."""

import os
from collections.abc import Sequence
from pathlib import Path

from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import parse_dataset_spec
from datapruning.errors import InvalidFile, InvalidValue

MAX_SHOWN_CHARS = 200
MAX_PATH_CHARS = 4096


def needed_paths(data: Dataset) -> tuple[str, ...]:
    """The paths of the training samples, relative to the dataset's folder, in the order of the ids.

    Raises:
        InvalidValue: the samples of this dataset are no files.
    """
    if data.train_paths is None:
        raise InvalidValue(f"{data.name} has no files: its samples have ids alone", parameter="paths")
    return data.train_paths


def ids_of_paths(lines: Sequence[tuple[int, str]], data: Dataset, source: Path) -> list[int]:
    """Sample ids of image paths: relative to the dataset's folder or to the working directory, or absolute.

    `lines` are (line number, path) each, read from the file `source`.

    Raises:
        InvalidFile: naming the first line that is no training image of `data`, or one that comes twice.
    """
    ids = {path: sample_id for sample_id, path in enumerate(needed_paths(data))}
    root = Path(parse_dataset_spec(data.source).name).resolve()
    lines_by_id: dict[int, int] = {}
    for number, line in lines:
        sample_id = next((ids[path] for path in _relative_paths(line, root) if path in ids), None)
        if sample_id is None:
            raise InvalidFile(
                f"{source}, line {number}: '{line[:MAX_SHOWN_CHARS]}' is not a training image of {data.name}; "
                f"its paths look like '{next(iter(ids))}'"
            )
        if sample_id in lines_by_id:
            raise InvalidFile(
                f"{source}, line {number}: '{line[:MAX_SHOWN_CHARS]}' is in line {lines_by_id[sample_id]} already"
            )
        lines_by_id[sample_id] = number
    return list(lines_by_id)


def _relative_paths(line: str, root: Path) -> list[str]:
    """The paths that `line` may mean in the dataset, the most likely first. Nothing is opened, wherever it may lead."""
    if len(line) > MAX_PATH_CHARS or "\0" in line:
        return []
    normalized = os.path.normpath(line.replace("\\", "/"))
    absolute = Path(os.path.abspath(normalized))
    try:
        real = absolute.parent.resolve() / absolute.name  # the folder may be reached through a link, the image may be one
    except (OSError, RuntimeError):  # links in a circle
        real = absolute
    inside = [path.relative_to(root).as_posix() for path in (absolute, real) if path.is_relative_to(root)]
    return [line, normalized, *inside]
