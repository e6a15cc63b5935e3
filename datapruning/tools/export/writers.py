"""Writers of plain files, one for each file name suffix: .csv, .parquet, .txt, .npy. Each writes atomically."""

import csv
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.errors import InvalidFile, MissingPackage
from datapruning.io.atomic import atomic_write
from datapruning.io.npy import Array

Columns = dict[str, Array | Sequence[str]]
METADATA_KEY = b"datapruning"
"""The key of a Parquet file's own metadata under which `meta` is stored, as JSON."""


def write_csv(path: Path, columns: Columns) -> None:
    """Write a header and a line for each row; float32 with the nine digits that restore it, booleans as 1 and 0."""
    cells = [_format_column(column) for column in columns.values()]
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def _format_column(column: Array | Sequence[str]) -> Sequence[object]:
    if not isinstance(column, np.ndarray):
        return column
    values: list[object] = (column.astype(np.int64) if column.dtype == np.bool_ else column).tolist()
    return [f"{value:.9g}" for value in values] if column.dtype == np.float32 else values


def import_pyarrow() -> Any:
    """Return the module `pyarrow`, with `pyarrow.parquet` loaded.

    Raises:
        MissingPackage: It is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingPackage("a .parquet file needs the package pyarrow: pip install pyarrow, or write a .csv") from None
    return importlib.import_module("pyarrow")


def write_parquet(path: Path, columns: Columns, meta: Mapping[str, Any]) -> None:
    """Write the columns with their types, and `meta` into the file's metadata.

    Raises:
        MissingPackage: pyarrow is not installed.
    """
    arrow = import_pyarrow()
    table = arrow.table({name: arrow.array(column) for name, column in columns.items()})
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(dict(meta), sort_keys=True).encode()})
    with atomic_write(path) as temporary:
        arrow.parquet.write_table(table, str(temporary))


def write_lines(path: Path, entries: Sequence[object]) -> None:
    """Write one entry a line.

    Raises:
        InvalidFile: An entry contains a line break.
    """
    lines = [str(entry) for entry in entries]
    broken = next((line for line in lines if "\n" in line or "\r" in line), None)
    if broken is not None:
        raise InvalidFile(f"the path {broken!r} has a line break in it, so it fits in no list of lines; write a .csv")
    with atomic_write(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_npy(path: Path, array: Array) -> None:
    """Write an array that `np.load` reads without pickle."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
