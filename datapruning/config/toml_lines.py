"""The line of a TOML file in which a table or a key stands, so that messages can say it."""

import re

HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]")
KEY = re.compile(r"""\s*(["']?)([\w.-]+)\1\s*=""")


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
