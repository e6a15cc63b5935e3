"""Which line of a TOML file a mistake is in, so that messages can say so."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any

Alone = Callable[[str, str, Any], str]
"""(table, key, value) -> what is wrong with that key by itself, in the words of the whole file's error; "" for nothing."""

HEAD = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]")
KEY = re.compile(r"""\s*(["']?)([\w.-]+)\1\s*=""")


def line_of(text: str, table: str, key: str | None = None) -> int | None:
    """The number of the line, from 1, where a table begins or a key of it is set; None where it is not found."""
    wanted = table if key is None else f"{table}.{key}"
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if head := HEAD.match(line):
            here = head[1].strip("\"'")
            if here == wanted:
                return number
        elif name := KEY.match(line):
            full = f"{here}.{name[2]}".lstrip(".")
            if full == wanted or (full == table and not here):  # the second: train = {epochs = 3}
                return number
    return None


def in_line(text: str, table: str, key: str | None = None) -> str:
    """As in ", line 7"; "" where the line is not found."""
    number = line_of(text, table, key)
    return "" if number is None else f", line {number}"


def blamed(text: str, message: str, alone: Alone, *, guess: bool) -> str:
    """As in ", line 7": where the key is that an error is about; "" where no key of the file is to blame.

    Args:
        text: of the file, which is TOML.
        message: of the error.
        alone: what is wrong with one key by itself.
        guess: whether, if no key is wrong by itself, one that the message names may be blamed (two keys that do not go
            together); not where the command line has changed values.
    """
    tables = {name: values for name, values in tomllib.loads(text).items() if isinstance(values, dict)}
    keys = [(table, key, value) for table, values in tables.items() for key, value in values.items()]
    for table, key, value in keys:
        if alone(table, key, value) == message:
            return in_line(text, table, key)
    for table, key, _ in keys if guess else ():
        if message.startswith(f"in [{table}]:") and re.search(rf"(?<!\w){re.escape(key)}(?!\w)", message):
            return in_line(text, table, key)
    return ""
