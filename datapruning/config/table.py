"""The base of every recipe table: checks of values, and their one-line messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from datapruning.errors import InvalidValue, UnknownName

MAX_SHOWN_CHARS = 200
"""Characters of a wrong value that a message repeats."""
TYPE_NAMES = {
    "int": "a whole number", "float": "a number", "string": "text", "bool": "true or false", "tuple": "a list",
    "model": "a table",
}  # fmt: skip
"""What the types of pydantic's errors are called in messages."""


class InvalidSetting(InvalidValue):
    """A setting that cannot be: `key` names it, with its table where that is known; `problem` follows it in the message."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}{problem}")
        self.key, self.problem = key, problem

    def in_table(self, table: str) -> InvalidSetting:
        """The same mistake with the name of its table."""
        return InvalidSetting(f"{table}.{self.key}", self.problem)


class Table(BaseModel):
    """Settings that never change: every key is known, and every value has the type and the range of its field.

    A whole number will do for a fraction; a text or a truth value will not do for a number.

    Raises:
        InvalidSetting: a key that the table does not have, or a value of the wrong type or out of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def __init__(self, /, **values: object) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _first_mistake(type(self), error) from None

    def replace(self, /, **changes: object) -> Self:
        """The same table with other values, which are checked.

        Raises:
            InvalidSetting: a value that cannot be.
        """
        return type(self)(**{**dict(self), **changes})

    @property
    def enabled(self) -> bool:
        """Whether the table changes anything; one that does not is neither written nor part of an identity."""
        return True

    def unused_keys(self) -> set[str]:
        """Keys without effect under the other values; they are neither written nor part of an identity."""
        return set()

    def to_dict(self) -> dict[str, object]:
        """The settings that have an effect, as plain data: tuples are lists."""
        unused = self.unused_keys()
        return {key: list(value) if isinstance(value, tuple) else value for key, value in self if key not in unused}


def between(low: float, high: float) -> AfterValidator:
    """Checks that a number lies in `low`..`high`; NaN never does."""
    return satisfies(lambda value: low <= value <= high, f" lies in {low:g}..{high:g}")


def satisfies(is_valid: Callable[[Any], bool], rule: str) -> AfterValidator:
    """Checks a value; the message is the key, the `rule`, and the value that breaks it."""

    def check(value: Any) -> Any:
        if not is_valid(value):
            raise ValueError(f"{rule}; got {list(value) if isinstance(value, tuple) else value}")
        return value

    return AfterValidator(check)


Share = Annotated[float, between(0, 1)]
Temperature = Annotated[float, between(1e-3, 1e6)]
Floats = Annotated[tuple[float, ...], Field(strict=False)]  # TOML has lists, which a strict tuple refuses
Names = Annotated[tuple[str, ...], Field(strict=False)]


def _first_mistake(table: type[BaseModel], error: ValidationError) -> InvalidSetting:
    mistake = error.errors(include_url=False)[0]
    kind, value, key = mistake["type"], mistake["input"], str(mistake["loc"][0])
    if kind == "extra_forbidden":
        return InvalidSetting(key, f": {UnknownName('key', key, table.model_fields)}")
    if kind == "value_error":
        return InvalidSetting(key, str(mistake["ctx"]["error"]))
    if kind == "literal_error" and isinstance(value, str):
        names = re.findall(r"'([^']*)'", str(mistake["ctx"]["expected"]))
        return InvalidSetting(key, f": {UnknownName(key, value, names)}")
    name = TYPE_NAMES.get(kind.split("_")[0], "text" if kind == "literal_error" else "given")
    shown = repr(value)
    shown = shown if len(shown) <= MAX_SHOWN_CHARS else f"{shown[:MAX_SHOWN_CHARS]}..."
    return InvalidSetting(key, f" is {name}, got {shown}")
