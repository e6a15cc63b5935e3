"""A price: samples and seconds, as far as they are known, and what result.json says of one."""

from __future__ import annotations

from dataclasses import dataclass, fields

from datapruning.report.student import Student
from datapruning.utils.cost import FORWARD


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True)
class Price:
    """Samples (forward-only ones as a third) and seconds; None: not known."""

    samples: float | None = 0.0
    seconds: float | None = 0.0

    def __add__(self, other: Price) -> Price:
        return Price(_sum(self.samples, other.samples), _sum(self.seconds, other.seconds))

    def measure(self, name: str) -> float | None:
        """`samples` or `seconds`, by name."""
        return self.samples if name == "samples" else self.seconds


MEASURES = tuple(f.name for f in fields(Price))
NOTHING, UNKNOWN = Price(), Price(None, None)


def said_of(student: Student, part: str) -> Price | None:
    """What result.json says of a part; None of older runs."""
    costs = student.result.get("costs")
    found = costs.get(part) if isinstance(costs, dict) else None
    if not isinstance(found, dict):
        return None
    return Price(found.get("samples_seen", 0) + FORWARD * found.get("evaluated", 0), found.get("seconds"))


def seconds_of(student: Student, part: str) -> float | None:
    """What result.json says under "seconds"."""
    seconds = student.result.get("seconds")
    return seconds.get(part) if isinstance(seconds, dict) else None
