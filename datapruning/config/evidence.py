"""The recipe table [evidence]."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.config.training import TrainConfig as TrainConfig
from datapruning.config.training import within


@dataclass(frozen=True)
class EvidenceConfig:
    """What is recorded for the scorers.

    Attributes:
        runs: independent proxies; EL2N is their mean (its paper recommends 10).
        full_runs: how many of them train to the end (forgetting and `el2n-online` read those); the others stop at
            `early_epoch`.
        early_epoch: after so many epochs the whole training set is evaluated, for EL2N.
    """

    runs: int = 5
    full_runs: int = 1
    early_epoch: int = 2

    def __post_init__(self) -> None:
        within("runs", self.runs, 1, 100_000)
        within("full_runs", self.full_runs, 0, self.runs)
        within("early_epoch", self.early_epoch, 1, 1_000_000)
