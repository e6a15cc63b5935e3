"""External lists of ids or image paths, one per line, become a subset."""

from pathlib import Path

import numpy as np

from datapruning.artifacts.subset import MAX_LIST_BYTES, Subset, load_subset, read_ids, subset_from_ids
from datapruning.data.dataset import Dataset, check_readable
from datapruning.data.image_paths import ids_of_paths
from datapruning.errors import InvalidFile, first_line
from datapruning.io.text import read_text

PLAIN_SUFFIXES = (".npy", ".txt")
"""How files end that hold plain ids or paths and nothing else."""


def subset_from_file(path: str | Path, data: Dataset) -> Subset:
    """Make a subset of ids or image paths from an external list.

    Args:
        path: a `.npy` of ids, or a text file with one id, or one path, a line.
        data: whose samples they are. Paths are relative to its folder, to the present folder, or absolute.

    Raises:
        InvalidFile: missing or unreadable, or a line that is neither an id nor the path of a training image.
        InvalidValue: ids that are out of range, duplicated or not integers, or of unreadable images.
    """
    path = Path(path)
    lines = _path_lines(path) if data.train_paths is not None else []
    ids = np.array(ids_of_paths(lines, data, path), np.int64) if lines else read_ids(path)
    subset = subset_from_ids(ids, data, str(path))
    check_readable(subset.indices, data, str(path))
    return subset


def open_subset(path: str | Path, data: Dataset) -> Subset:
    """A subset file, or where the name ends in .npy or .txt a plain list.

    Raises:
        InvalidFile, InvalidValue: as `load_subset` and `subset_from_file` do.
    """
    return subset_from_file(path, data) if Path(path).suffix in PLAIN_SUFFIXES else load_subset(path)


def _path_lines(path: Path) -> list[tuple[int, str]]:
    """(line number, path) of a text file whose first line is no whole number; nothing for any other file."""
    if path.suffix == ".npy" or not path.is_file():
        return []
    try:
        text = read_text(path, MAX_LIST_BYTES)
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read as text: {first_line(error)}") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    lines = [(number, line.removesuffix("\r")) for number, line in lines]
    return [] if not lines or lines[0][1].strip().lstrip("+-").isdecimal() else lines
