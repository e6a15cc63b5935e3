"""Writers of plain files, one a name's ending: .csv, .parquet, .txt, .npy. Each is written whole or not at all."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.errors import InvalidFile, MissingPackage
from datapruning.io.atomic import written_whole
from datapruning.io.npy import Array
from datapruning.tools.export.columns import Columns

META = b"datapruning"
"""The key of a Parquet file's own metadata under which `meta` stands, as JSON."""


def write_csv(path: Path, columns: Columns) -> None:
    """A head, and a line a row; float32 with the nine digits that give it back, true and false as 1 and 0."""
    cells = [_cells(column) for column in columns.values()]
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*cells, strict=True))


def _cells(column: Array | Sequence[str]) -> Sequence[object]:
    if not isinstance(column, np.ndarray):
        return column
    if column.dtype == np.bool_:
        column = column.astype(np.int64)
    values: list[object] = column.tolist()
    return [f"{value:.9g}" for value in values] if column.dtype == np.float32 else values


def parquet() -> Any:
    """The module `pyarrow`, with `pyarrow.parquet` loaded.

    Raises:
        MissingPackage: it is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingPackage("a .parquet file needs the package pyarrow: pip install pyarrow, or write a .csv") from None
    return importlib.import_module("pyarrow")


def write_parquet(path: Path, columns: Columns, meta: Mapping[str, Any]) -> None:
    """The same columns with their types, and `meta` in the file's metadata.

    Raises:
        MissingPackage: pyarrow is not installed.
    """
    arrow = parquet()
    table = arrow.table({name: arrow.array(column) for name, column in columns.items()})
    table = table.replace_schema_metadata({META: json.dumps(dict(meta), sort_keys=True).encode()})
    with written_whole(path) as temporary:
        arrow.parquet.write_table(table, str(temporary))


def write_lines(path: Path, entries: Sequence[object]) -> None:
    """One entry a line.

    Raises:
        InvalidFile: an entry that has a line break in it.
    """
    lines = [str(entry) for entry in entries]
    broken = next((line for line in lines if "\n" in line or "\r" in line), None)
    if broken is not None:
        raise InvalidFile(f"the path {broken!r} has a line break in it, so it fits in no list of lines; write a .csv")
    with written_whole(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_npy(path: Path, array: Array) -> None:
    """An array that `np.load` reads without pickle."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
