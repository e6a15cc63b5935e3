"""The recipe table [ensemble]."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.config.training import TrainConfig as TrainConfig
from datapruning.config.training import within


@dataclass(frozen=True)
class EnsembleConfig:
    """The subset ensemble that memorization is read from; [ensemble_member] says how a member is trained.

    Attributes:
        num_members: how many. More give shorter error bars; those that are there are kept.
        subset_fraction: share of the samples that a member is trained on (Feldman and Zhang 2020: 0.7), as parts of
            at most 20.
        views: train members on augmented views. Without, they fit their samples in fewer epochs.
    """

    num_members: int = 40
    subset_fraction: float = 0.7
    views: bool = False

    def __post_init__(self) -> None:
        within("num_members", self.num_members, 2, 100_000)
        within("subset_fraction", self.subset_fraction, 0.05, 0.95)
