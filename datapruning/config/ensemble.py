"""The recipe table [ensemble]."""

from typing import Annotated

from datapruning.config.table import Table, between


class EnsembleConfig(Table):
    """The subset ensemble of memorization; [ensemble_member] has the settings of its members.

    Attributes:
        num_members: number of members. More give shorter error bars; trained ones are kept.
        subset_fraction: fraction of the samples that a member is trained on (Feldman and Zhang 2020: 0.7), rounded to a
            number of at most 20 equal parts.
        views: train members on augmented views. Without, they fit their samples in fewer epochs.
    """

    num_members: Annotated[int, between(2, 100_000)] = 40
    subset_fraction: Annotated[float, between(0.05, 0.95)] = 0.7
    views: bool = False
