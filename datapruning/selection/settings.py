"""Settings of strategies: named numbers with a default and a range, and how they are read from the command line."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datapruning.errors import InvalidValue, UnknownName

Settings = Mapping[str, int | float]


@dataclass(frozen=True)
class Setting:
    """A number that can be set.

    Attributes:
        name: its name.
        default: default value; an int if only whole numbers are allowed.
        low: the smallest value.
        high: the largest value.
        meaning: description in a few words.
        open_high: whether `high` itself is not allowed.
    """

    name: str
    default: int | float
    low: float
    high: float
    meaning: str
    open_high: bool = False

    @property
    def range(self) -> str:
        """The allowed values, in words."""
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


def resolve(strategy: str, known: Sequence[Setting], values: Mapping[str, object]) -> Settings:
    """Every setting of a strategy, by name: the given values, and the defaults of the others.

    Raises:
        UnknownName: the strategy has no such setting; the nearest is named.
        InvalidValue: it has no settings at all, or a value out of range.
    """
    names = [setting.name for setting in known]
    for name in values:
        if not names:
            raise InvalidValue(f"strategy '{strategy}' has no settings; got {name}={values[name]}")
        if name not in names:
            raise UnknownName(f"setting of strategy {strategy}", name, names)
    return {setting.name: setting.validate(strategy, values.get(setting.name, setting.default)) for setting in known}


def parse_settings(words: Iterable[str]) -> dict[str, str]:
    """`["cutoff=0.3", "strata=50"]` as a mapping; the values stay text.

    Raises:
        InvalidValue: a word that is not key=value, or a key that comes twice.
    """
    settings: dict[str, str] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value):
            raise InvalidValue(f"a setting is key=value, for example cutoff=0.3; got '{word}'", parameter="strategy_set")
        if name in settings:
            raise InvalidValue(f"setting {name} is given twice: {settings[name]} and {value}", parameter="strategy_set")
        settings[name] = value
    return settings


def format_settings(settings: Mapping[str, object]) -> list[str]:
    """The settings as words of the form name=value."""
    return [f"{name}={value}" for name, value in settings.items()]
