"""The recipe table [evidence]."""

from typing import Annotated

from pydantic import ValidationInfo, field_validator

from datapruning.config.table import Table, between


class EvidenceConfig(Table):
    """What is recorded for the scorers.

    Attributes:
        runs: independent proxies; EL2N is their mean (its paper recommends 10).
        full_runs: how many of them train to the end (forgetting and `el2n-online` read those); the others stop at
            `early_epoch`.
        early_epoch: number of epochs after which the whole training set is evaluated, for EL2N.
    """

    runs: Annotated[int, between(1, 100_000)] = 5
    full_runs: int = 1
    early_epoch: Annotated[int, between(1, 1_000_000)] = 2

    @field_validator("full_runs")
    @classmethod
    def _check_full_runs(cls, full_runs: int, others: ValidationInfo) -> int:
        runs = others.data.get("runs", full_runs)
        if not 0 <= full_runs <= runs:
            raise ValueError(f" lies in 0..{runs}; got {full_runs}")
        return full_runs
