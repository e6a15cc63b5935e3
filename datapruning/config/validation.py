"""Configuration dataclasses from plain values: every key known, every value of its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from datapruning.config.training import TrainConfig as TrainConfig
from datapruning.errors import InvalidValue, UnknownName

LONGEST_SHOWN = 200
"""Letters of a wrong value that a message repeats."""


Config = TypeVar("Config")


def build(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """An instance of a configuration dataclass, every key known and every value of its type.

    Raises:
        UnknownName: a key it does not have. InvalidValue: a value of the wrong type.
    """
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    ready = {}
    for key, value in values.items():
        if key not in known:
            raise UnknownName(f"key in [{where}]", key, known)
        ready[key] = _of_type(value, hints[key], f"{where}.{key}")
    try:
        return kind(**ready)
    except (InvalidValue, UnknownName) as error:
        raise InvalidValue(f"in [{where}]: {error}") from None


def _of_type(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise InvalidValue(f"{where} is a list, got {_shown(value)}")
        return tuple(_of_type(v, get_args(hint)[0], where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise InvalidValue(f"{where} is a number, got {_shown(value)}") from None
    if type(value) is not hint:
        raise InvalidValue(f"{where} is {_TYPE_WORDS[hint]}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


_TYPE_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
