"""The recipe table [ensemble]."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.config.training import Training as Training
from datapruning.config.training import within


@dataclass(frozen=True)
class Ensemble:
    """The subset ensemble that memorization is read from; [member] says how a member is trained.

    Attributes:
        members: how many. More give shorter error bars; those that are there are kept.
        inside: share of the samples that a member is trained on (Feldman and Zhang 2020: 0.7), as parts of at most 20.
        views: train members on augmented views. Without, they fit their samples in fewer epochs.
    """

    members: int = 40
    inside: float = 0.7
    views: bool = False

    def __post_init__(self) -> None:
        within("members", self.members, 2, 100_000)
        within("inside", self.inside, 0.05, 0.95)
