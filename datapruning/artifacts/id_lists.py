"""Lists of sample ids as people save them: `.npy`, text, a column `id` of a CSV, a tensor. Masks are no ids."""

import csv
import io
import re
import warnings
from pathlib import Path

import numpy as np

from datapruning.errors import InvalidFile, first_line
from datapruning.io.npy import READ_ERRORS, Array, read_array, verify_zip
from datapruning.io.regular_file import open_regular_file
from datapruning.io.text import read_text

MAX_LIST_BYTES = 2**30
LIST_SUFFIXES = (".npy", ".txt", ".csv", ".tsv", ".pt", ".pth", ".json", ".jsonl")
"""How files end that hold ids or paths and nothing else; of these JSON is refused, with what to do."""
TABLE_SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t")
"""Between the columns of a table; spreadsheets write semicolons where the comma is in numbers."""
TAKEN = "a .npy or .pt of ids, a .csv with a column id, or a text file with one sample id a line"
ID = re.compile(r"[+-]?[0-9]{1,18}")
"""A whole number that fits in 64 bits."""
ID_COLUMN, KEPT_COLUMN = "id", "kept"
"""Columns of a CSV; of one that lists all samples, as `dprune export` writes it, those with `kept` 1 are taken."""
KEPT = {"1": True, "0": False, "true": True, "false": False}


def read_ids(path: str | Path) -> Array:
    """Plain ids: a `.npy` or `.pt`, a `.csv` with a column `id`, or a text file with one id a line.

    Raises:
        InvalidFile: missing or unreadable, with the first line that is no whole number, or with what the file looks like.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(f"{path} is not there; {TAKEN} is needed")
    if path.suffix == ".npy":
        try:
            return read_array(path)
        except READ_ERRORS as error:
            raise InvalidFile(f"{path} cannot be read as .npy: {first_line(error)}") from None
    if path.suffix in (".pt", ".pth"):
        return _read_tensor(path)
    try:
        text = read_text(path, MAX_LIST_BYTES)
    except UnicodeDecodeError:
        raise InvalidFile(f"{path} is no UTF-8 text; {TAKEN} is needed") from None
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read as text: {first_line(error)}; {TAKEN} is needed") from None
    if text.lstrip().startswith(("[", "{")):
        raise InvalidFile(f"{path} looks like JSON; {TAKEN} is needed")
    lines = _column(path, text) if path.suffix in TABLE_SUFFIXES else enumerate(text.splitlines(), 1)
    ids = []
    for number, line in lines:
        if not line.strip():
            continue
        if not ID.fullmatch(line.strip()):  # int() takes "1_000" and digits of any script
            raise InvalidFile(f"{path}, line {number}: {line.strip()[:40]!r} is no sample id")
        ids.append(int(line.strip()))  # int() alone takes fewer characters for blanks than strip()
    return np.array(ids, np.int64)


def _column(path: Path, text: str) -> list[tuple[int, str]]:
    """(line number, text of the id) of each row of a CSV, or of those that are kept; of one id a line, all lines."""
    try:
        first_row = text.partition("\n")[0]
        delimiter = max(DELIMITERS, key=first_row.count)
        table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [(number, row) for number, row in enumerate(table, 1) if row]
    except csv.Error as error:
        raise InvalidFile(f"{path} cannot be read as .csv: {first_line(error)}") from None
    if all(len(row) == 1 and ID.fullmatch(row[0].strip()) for _, row in rows):
        return [(number, row[0]) for number, row in rows]
    head = [name.strip() for name in rows[0][1]]
    if ID_COLUMN not in head:
        head = [name.lower() for name in head]
    if head.count(ID_COLUMN) != 1:
        raise InvalidFile(f"{path} has no column {ID_COLUMN}: its first line is {','.join(head)[:80]!r}; {TAKEN} is needed")
    at, kept_at = head.index(ID_COLUMN), head.index(KEPT_COLUMN) if KEPT_COLUMN in head else None
    ids = []
    for number, row in rows[1:]:
        if len(row) != len(head):
            raise InvalidFile(f"{path}, line {number}: {len(row)} columns, and the first line has {len(head)}")
        is_kept = True if kept_at is None else KEPT.get(row[kept_at].strip().lower())
        if is_kept is None:
            raise InvalidFile(f"{path}, line {number}: {KEPT_COLUMN} is 1 or 0; found {row[kept_at or 0][:40]!r}")
        if not ID.fullmatch(row[at].strip()):
            raise InvalidFile(f"{path}, line {number}: {row[at].strip()[:40]!r} is no sample id")
        if is_kept:
            ids.append((number, row[at]))
    return ids


def _read_tensor(path: Path) -> Array:
    import torch

    try:
        with open_regular_file(path) as (file, size):
            if size > MAX_LIST_BYTES:
                raise ValueError("it is too large for a list of ids")
            verify_zip(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about TorchScript archives, which are refused
                content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is no tensor makes pickle and zipfile raise
        raise InvalidFile(f"{path} cannot be read as a tensor ({first_line(error)[:80]}); {TAKEN} is needed") from None
    if isinstance(content, list) and all(isinstance(item, int) for item in content):
        content = torch.tensor(content)
    if not isinstance(content, torch.Tensor) or content.layout != torch.strided or content.is_floating_point():
        kind = f"a tensor of {content.dtype}" if isinstance(content, torch.Tensor) else f"a {type(content).__name__}"
        raise InvalidFile(f"{path} holds {kind}; a tensor of sample ids, whole numbers [n], is needed")
    array: Array = content.numpy()
    return array
