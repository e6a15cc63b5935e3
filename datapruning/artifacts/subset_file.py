"""External lists of ids or image paths, one per line, become a subset."""

import zipfile
from pathlib import Path

import numpy as np

from datapruning.artifacts.id_lists import LIST_SUFFIXES, MAX_LIST_BYTES, TAKEN, read_ids
from datapruning.artifacts.subset import Subset, load_subset, subset_from_ids
from datapruning.data.dataset import Dataset, check_readable
from datapruning.data.image_paths import ids_of_paths
from datapruning.errors import InvalidFile, first_line
from datapruning.io.text import read_text


def subset_from_file(path: str | Path, data: Dataset) -> Subset:
    """Make a subset of ids or image paths from an external list.

    Args:
        path: a `.npy` or `.pt` of ids, a `.csv` with a column `id`, or a text file with one id, or one path, a line.
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
    """A subset file, or where the name ends so (`LIST_SUFFIXES`) a plain list.

    Raises:
        InvalidFile, InvalidValue: as `load_subset` and `subset_from_file` do.
    """
    if Path(path).suffix in LIST_SUFFIXES:
        return subset_from_file(path, data)
    if Path(path).suffix != ".npz" and Path(path).is_file() and not zipfile.is_zipfile(path):
        raise InvalidFile(f"{path} is no subset file and no list of sample ids: {TAKEN} is needed, or a subset file (.npz)")
    return load_subset(path)


def _path_lines(path: Path) -> list[tuple[int, str]]:
    """(line number, path) of a text file whose first line is no whole number; nothing for any other file."""
    if (path.suffix != ".txt" and path.suffix in LIST_SUFFIXES) or not path.is_file():
        return []
    try:
        text = read_text(path, MAX_LIST_BYTES)
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read as text: {first_line(error)}") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    lines = [(number, line.removesuffix("\r")) for number, line in lines]
    return [] if not lines or lines[0][1].strip().lstrip("+-").isdecimal() else lines
