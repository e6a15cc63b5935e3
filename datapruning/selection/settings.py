"""Settings of strategies: named numbers with a default and a range, and how they are read from the command line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from datapruning.errors import InvalidValue, UnknownName

Settings = Mapping[str, int | float]


@dataclass(frozen=True)
class Setting:
    """A number that can be set.

    Attributes:
        name: as in `--strategy-set name=value`.
        default: a whole number where only whole ones are allowed.
        low: the least value.
        high: the largest value.
        meaning: in a few words.
        open_high: `high` itself is too much.
    """

    name: str
    default: int | float
    low: float
    high: float
    meaning: str
    open_high: bool = False

    @property
    def range(self) -> str:
        """Which values are allowed, in words."""
        kind = "a whole number, " if isinstance(self.default, int) else ""
        upper = f"below {self.high:g}" if self.open_high else f"at most {self.high:g}"
        return f"{kind}at least {self.low:g}, {upper}"

    def validate(self, strategy: str, value: object) -> int | float:
        """`value` (a number, or its text) if it is allowed.

        Raises:
            InvalidValue: it is not.
        """
        wrong = InvalidValue(f"strategy '{strategy}': {self.name} is {self.range}; got {value}")
        try:
            if isinstance(value, bool):
                raise ValueError
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise wrong from None
        too_much = number >= self.high if self.open_high else number > self.high
        if not math.isfinite(number) or number < self.low or too_much:
            raise wrong
        if isinstance(self.default, int):
            if number != int(number):
                raise wrong
            return int(number)
        return number


def resolve(strategy: str, known: Iterable[Setting], given: Mapping[str, object]) -> Settings:
    """Every setting of a strategy, by name: what is given, and the defaults.

    Raises:
        UnknownName: the strategy has no such setting; the nearest is named.
        InvalidValue: it has no settings at all, or a value out of range.
    """
    by_name = {setting.name: setting for setting in known}
    for name in given:
        if not by_name:
            raise InvalidValue(f"strategy '{strategy}' has no settings; got {name}={given[name]}")
        if name not in by_name:
            raise UnknownName(f"setting of strategy {strategy}", name, by_name)
    return {name: each.validate(strategy, given.get(name, each.default)) for name, each in by_name.items()}


def parse_settings(words: Iterable[str]) -> dict[str, str]:
    """`["cutoff=0.3", "strata=50"]` as a mapping; the values stay text.

    Raises:
        InvalidValue: a word that is no key=value, or a key that comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value):
            raise InvalidValue(f"--strategy-set takes key=value, for example --strategy-set cutoff=0.3; got '{word}'")
        if name in found:
            raise InvalidValue(f"--strategy-set {name} is given twice: {found[name]} and {value}")
        found[name] = value
    return found


def format_settings(settings: Mapping[str, object]) -> list[str]:
    """The settings as words that `--strategy-set` takes."""
    return [f"{name}={value}" for name, value in settings.items()]
