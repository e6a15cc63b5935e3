"""What a piece of work costs to make, whoever made it and however often it is used again."""

from typing import Self

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

FORWARD_PASS_COST = 1 / 3
"""What a forward pass costs, in training passes (a training pass is one forward and about two backward)."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class ComputeCost:
    """The compute that a piece of work took, and its seconds on the machine.

    `samples_seen` counts samples that went through a training pass, `evaluated` those that went through a forward pass
    alone.
    """

    samples_seen: int = 0
    evaluated: int = 0
    seconds: float = 0.0

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.samples_seen + other.samples_seen,
            self.evaluated + other.evaluated,
            round(self.seconds + other.seconds, 3),
        )

    @property
    def training_passes(self) -> float:
        """All of it in training passes of one sample."""
        return self.samples_seen + FORWARD_PASS_COST * self.evaluated
