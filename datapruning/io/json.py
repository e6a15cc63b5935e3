"""JSON files: written whole, read with limits on size, depth and numbers."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile, first_line
from datapruning.io.atomic import write_text
from datapruning.io.text import CHECKSUM, check_recorded, read_text
from datapruning.utils.hashing import config_hash

MAX_JSON_BYTES = 256 * 2**20
MAX_JSON_DEPTH = 64
MAX_NUMBER_CHARS = 30
"""Digits of the operations of the largest trainings there are (10^26), and some more."""


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all; an object with its checksum. NaN is refused: JSON has none."""
    text = json.dumps(value, indent=2, allow_nan=False)
    if isinstance(value, Mapping):
        there = json.loads(text)  # as it reads back: a tuple is a list, a key text
        text = json.dumps({**there, CHECKSUM: config_hash(there, 32)}, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that `write_json` wrote. Its checksum is left out.

    Raises:
        InvalidFile: missing, unreadable, not an object, changed since it was written, or without a checksum.
    """
    try:
        value = parse_json(read_text(path, MAX_JSON_BYTES))
    except FileNotFoundError:
        raise InvalidFile(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read as JSON: {first_line(error)}") from None
    if not isinstance(value, dict):
        raise InvalidFile(f"{path} holds no JSON object")
    check_recorded(path, value.pop(CHECKSUM, None), config_hash(value, 32))
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no JSON, numbers that are not finite, a key that comes twice, or nested too deeply.
    """
    too_deep = ValueError("it is nested too deeply")
    try:
        value = json.loads(
            text,
            parse_constant=_reject_constant,
            parse_float=_parse_finite_float,
            parse_int=_parse_int,
            object_pairs_hook=_reject_duplicate_keys,
        )
    except RecursionError:
        raise too_deep from None
    if _exceeds_depth(value, MAX_JSON_DEPTH):
        raise too_deep
    return value


def _exceeds_depth(value: Any, most: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return most == 0 or any(
        _exceeds_depth(element, most - 1) for element in (value.values() if isinstance(value, dict) else value)
    )


def _reject_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _parse_finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _parse_int(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError(f"{text[:40]}... is too large a number")
    return int(text)


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key comes twice in an object")
    return values


def first_difference(there: Any, here: Any, where: str = "") -> str:
    """The first value, in the order of the keys, that two nested dictionaries do not share."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            if there.get(key) != here.get(key):
                return first_difference(there.get(key), here.get(key), f"{where}.{key}".lstrip("."))
    return f"{where} is {there!r} there, {here!r} here"
