"""TOML files: read with a limit on their size, written from plain tables, and where a setting stands in one."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from datapruning.errors import InvalidFile, first_line
from datapruning.io.text import MAX_TOML_BYTES, read_text
from datapruning.io.text import parse_toml as parse_toml

HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]")
KEY = re.compile(r"""\s*(["']?)([\w.-]+)\1\s*=""")


def read_toml(path: Path, kind: str = "") -> tuple[str, dict[str, Any]]:
    """Read the text of a TOML file and its tables; `kind` describes the file in messages ("recipe").

    Raises:
        InvalidFile: not there, too large, or no TOML.
    """
    name = f"{kind} {path}".strip()
    try:
        text = read_text(path, MAX_TOML_BYTES)
        return text, parse_toml(text)
    except FileNotFoundError:
        raise InvalidFile(f"{name} is not there") from None
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{name} cannot be read: {first_line(error)}") from None


def to_toml(tables: Mapping[str, object]) -> str:
    """TOML text of tables of plain values; keys whose value is None are left out."""
    return tomli_w.dumps(
        {
            name: {key: value for key, value in table.items() if value is not None}
            for name, table in tables.items()
            if isinstance(table, Mapping)
        }
    )


def find_line(text: str, table: str, key: str = "") -> int | None:
    """The number of the line, from 1, where a table begins or a key of it is set; None where it is not found.

    A key of a table that is written on one line (`train = {epochs = 3}`) is where the table is.
    """
    wanted, current = f"{table}.{key}".strip("."), ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            current = header[1].strip("\"'")
            if current == wanted:
                return number
        elif name := KEY.match(line):
            full = f"{current}.{name[2]}".lstrip(".")
            if full == wanted or (full == table and not current):
                return number
    return None


def at_line(text: str, table: str, key: str = "") -> str:
    """As in ", line 7"; "" where the line is not found."""
    number = find_line(text, table, key)
    return "" if number is None else f", line {number}"
