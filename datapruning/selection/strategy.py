"""A strategy: a rule that keeps a given number of a pool of samples, with its source and its settings.

Settings are named numbers with a default and a range; on the command line they are words of the form name=value.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidValue, UnknownName

Positions = NDArray[np.int64]
Settings = Mapping[str, int | float]


class EvidenceSource(Protocol):
    """The evidence that strategies read from a recording (`datapruning.evidence.recording.Recording`)."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        ...

    def label_prob(self, epochs: int | None = None) -> NDArray[np.float64]:
        """Mean probability of the label over the runs and their first `epochs` epochs (None: all), float64 [N]."""
        ...

    def features(self) -> NDArray[np.floating[Any]]:
        """Penultimate features, or embeddings of another network, float16 or float32 [N, dim]."""
        ...


@dataclass(frozen=True)
class Setting:
    """A number that can be set, from `low` to `high` (with `open_high`, below it); `meaning` describes it in a few words.

    Only whole numbers are allowed where the default is an int.
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


@dataclass(frozen=True)
class Pool:
    """The samples from which a rule selects: all of them, or those of one class.

    Attributes:
        ids: int64 [n], rising.
        values: their scores, float64 [n], higher = keep first.
        count: number of samples to keep, 1..n.
        fraction: the requested fraction.
        seed: random seed of draws.
        settings: all settings of the strategy.
        evidence: the evidence of these ids, [n] or [n, dim]; None: the strategy reads none.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float64]
    count: int
    fraction: Fraction
    seed: int
    settings: Settings
    evidence: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Strategy:
    """A strategy and its description.

    Attributes:
        name: its name.
        summary: what it keeps, in one line.
        source: the paper and the section.
        nested: whether the subset of a smaller fraction lies inside that of a larger one (same scores, seed, settings).
        choose: the rule: the `pool.count` positions in the pool that are kept, each once, in any order.
        settings: its settings.
        needs_finite_scores: whether it computes with the scores, which then have to be finite, and does not only rank them.
        evidence_kind: the kind of evidence that it reads; "": none.
        read_evidence: evidence, settings -> one row a sample, [N] or [N, dim]; None: it reads no evidence.
        check: refuses pools that it cannot choose from, before it chooses from any.
    """

    name: str
    summary: str
    source: str
    nested: bool
    choose: Callable[[Pool], Positions]
    settings: tuple[Setting, ...] = ()
    needs_finite_scores: bool = False
    evidence_kind: str = ""
    read_evidence: Callable[[EvidenceSource, Settings], NDArray[Any]] | None = None
    check: Callable[[Sequence[Pool]], None] | None = None

    def resolve(self, given: Mapping[str, object] | None) -> Settings:
        """All settings: those given, checked, and the defaults of the others.

        Raises:
            UnknownName: the strategy has no such setting; the nearest is named.
            InvalidValue: it has no settings at all, or a value out of range.
        """
        values, names = given or {}, [setting.name for setting in self.settings]
        for name in values:
            if not names:
                raise InvalidValue(f"strategy '{self.name}' has no settings; got {name}={values[name]}")
            if name not in names:
                raise UnknownName(f"setting of strategy {self.name}", name, names)
        return {s.name: s.validate(self.name, values.get(s.name, s.default)) for s in self.settings}

    def describe(self) -> list[tuple[str, str]]:
        """(property, text) of everything that a user needs to know."""
        nested = "yes: the subset of a smaller fraction lies inside that of a larger one" if self.nested else "no"
        settings = [("setting", f"{s.name}={s.default} ({s.meaning}; {s.range})") for s in self.settings]
        reads = f"scores and {self.evidence_kind}, from a recording" if self.evidence_kind else "scores"
        return [("keeps", self.summary), ("nested", nested), ("reads", reads), *settings, ("source", self.source)]


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
