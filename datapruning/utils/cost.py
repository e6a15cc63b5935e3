"""What a piece of work costs to make, whoever made it and however often it is used again."""

from typing import Self

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

TRAINING_PASS_FORWARDS = 3
"""Forward passes that cost as much as a training pass, which is one forward and about two backward."""
FORWARD_PASS_COST = 1 / TRAINING_PASS_FORWARDS
"""What a forward pass costs, in training passes."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class ComputeCost:
    """The compute that a piece of work took, and its seconds on the machine.

    `samples_seen` counts samples that went through a training pass, `evaluated` those that went through a forward pass
    alone. `flops` are the floating-point operations of all of them (see `passes_flops`);
    None: not known, as of a training outside this package.
    """

    samples_seen: int = 0
    evaluated: int = 0
    seconds: float = 0.0
    flops: int | None = None

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.samples_seen + other.samples_seen,
            self.evaluated + other.evaluated,
            round(self.seconds + other.seconds, 3),
            None if self.flops is None or other.flops is None else self.flops + other.flops,
        )

    def __sub__(self, other: Self) -> Self:
        return type(self)(
            self.samples_seen - other.samples_seen,
            self.evaluated - other.evaluated,
            round(self.seconds - other.seconds, 3),
            None if self.flops is None or other.flops is None else self.flops - other.flops,
        )

    @property
    def training_passes(self) -> float:
        """All of it in training passes of one sample, whatever the networks."""
        return self.samples_seen + FORWARD_PASS_COST * self.evaluated


@dataclass(frozen=True)
class Speed:
    """The seconds that one sample takes on this machine: of a training pass, and of a forward pass alone."""

    train: float
    forward: float


NO_COST = ComputeCost(flops=0)


def passes_flops(forward_flops: int, samples_seen: int = 0, evaluated: int = 0) -> int:
    """Floating-point operations of passes through a network that takes `forward_flops` for one image.

    A training pass counts as three forward passes: one forward, and about two backward.
    """
    return forward_flops * (TRAINING_PASS_FORWARDS * samples_seen + evaluated)
