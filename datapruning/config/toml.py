"""TOML files: read with a limit on their size, and written from plain tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from datapruning.errors import InvalidFile, first_line
from datapruning.io.text import MAX_TOML_BYTES, read_text
from datapruning.io.text import parse_toml as parse_toml


def read_toml(path: Path, kind: str = "") -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and its tables; `kind` says in messages what the file is ("recipe").

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
