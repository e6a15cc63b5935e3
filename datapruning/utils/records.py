"""Typed records: what files hold, as immutable pydantic models that refuse unknown keys with the nearest name."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from datapruning.errors import InvalidFile, UnknownName, UserError

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, ser_json_inf_nan="constants")
"""No unknown keys, no assignment, no conversion between types, no NaN (which a file refuses, and must not become null)."""
UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
MAX_SHOWN_CHARS = 80


class Record(BaseModel):
    """An immutable record of a file. Optional fields that are None are left out of the file."""

    model_config = STRICT

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON data, as its file holds it."""
        return self.model_dump(mode="json", exclude_none=True)


R = TypeVar("R", bound=BaseModel)


def parse_record(kind: type[R], value: object, source: str) -> R:
    """Check the data of a JSON or TOML file against a model; `source` names the file in messages.

    Raises:
        InvalidFile: an unknown key (the nearest known one is named), a missing key or a value of a wrong type, in one line.
    """
    try:
        return kind.model_validate_json(json.dumps(value, default=str))  # TOML has dates
    except ValidationError as error:
        raise InvalidFile(f"{source}: {describe_error(kind, error)}") from None
    except UserError as error:  # a recipe's table inside refuses its own values
        raise InvalidFile(f"{source}: {error}") from None


def describe_error(kind: type[BaseModel], error: ValidationError) -> str:
    """The first mistake that pydantic found, in one line; an unknown key goes before a missing one, which it may explain."""
    mistakes = sorted(error.errors(include_url=False), key=lambda mistake: mistake["type"] not in UNKNOWN_KEY)
    mistake = mistakes[0]
    *parents, key = mistake["loc"] or ("",)
    table = ".".join(map(str, parents))
    if mistake["type"] in UNKNOWN_KEY:
        return f"{f'in {table}, ' if table else ''}{UnknownName('key', str(key), _known_keys(kind, parents))}"
    path = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "missing":
        return f"'{path}' is missing"
    value = repr(mistake["input"])
    shown = value if len(value) <= MAX_SHOWN_CHARS else f"{value[:MAX_SHOWN_CHARS]}..."
    reason = mistake["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{f'{path!r} is {shown}, but it ' if path else ''}{reason}"


def _known_keys(kind: type[BaseModel], parents: Sequence[int | str]) -> list[str]:
    """The keys of the model that lies at a place inside another one."""
    kinds: list[Any] = [kind]
    for key in parents:
        nested = [_fields(nested_kind)[key] for nested_kind in kinds if key in _fields(nested_kind)]
        kinds = [model for annotation in nested for model in _models(annotation)] or kinds
    return [str(name) for nested_kind in kinds for name in _fields(nested_kind)]


def _fields(kind: Any) -> dict[int | str, Any]:
    """Key in a file -> annotation."""
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__pydantic_fields__", {})
    return {name: field.annotation for name, field in fields.items()}


def _models(annotation: Any) -> Iterator[Any]:
    """The models that an annotation such as `tuple[Layer, ...] | None` names."""
    if hasattr(annotation, "__pydantic_fields__"):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with keys such as "table.key"."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
