"""What a piece of work costs to make, whoever made it and however often it is used again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORWARD = 1 / 3
"""What a forward pass costs, in training passes (a training pass is one forward and about two backward)."""


@dataclass(frozen=True)
class Cost:
    """`samples_seen` went through a training pass, `evaluated` through a forward pass alone; `seconds` on the machine."""

    samples_seen: int = 0
    evaluated: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.samples_seen + other.samples_seen,
            self.evaluated + other.evaluated,
            round(self.seconds + other.seconds, 3),
        )

    @property
    def training_passes(self) -> float:
        """All of it in training passes of one sample."""
        return self.samples_seen + FORWARD * self.evaluated


def cost_of_run(result: Mapping[str, Any]) -> Cost:
    """Training and search of a finished run, from its result.json."""
    search = result.get("kd_weight_search") or {}
    seconds = result.get("seconds", {})
    return Cost(
        result["samples_seen"] + search.get("samples_seen", 0),
        search.get("evaluated", 0),
        round(seconds.get("train", 0.0) + seconds.get("search", 0.0), 3),
    )
