"""The recipe table [kd], and what a KD weight may be."""

from typing import Annotated

from pydantic import Field, field_validator

from datapruning.config.table import Names, Share, Table, Temperature, between
from datapruning.errors import InvalidValue


def check_kd_weight(weight: float) -> float:
    """A KD weight a, 0 <= a <= 1.

    Raises:
        InvalidValue: outside, or NaN.
    """
    if not 0 <= weight <= 1:
        raise InvalidValue(f"the KD weight lies in 0..1 (0: labels alone, 1: teacher alone), or is 'auto'; got {weight}")
    return weight


class KDConfig(Table):
    """Distillation: temperature T, and how `kd_weight="auto"` searches.

    Attributes:
        temperature: T of the loss where the KD weight is a number.
        temperatures: temperatures that `auto` tries; it begins with the first.
        confidence_weighting: under `auto`, a label counts only as far as the teacher is confident in it; where the KD
            weight is a number, every sample has that weight.
        weight_grid: KD weights that probes try.
        teacher_candidates: networks that `teacher="auto"` trains as teachers and chooses from, and from their early
            checkpoints; it begins with the first. Empty: the teacher's own network.
        search_start: fraction of the epochs after which the probes branch off the run.
        search_budget: what the search may cost, in trainings, where a training sees 100,000 samples or more; small ones
            may pay up to 0.8.
        max_validation_samples: largest number of samples that the probes are validated on.
    """

    temperature: Temperature = 4.0
    temperatures: Annotated[tuple[Temperature, ...], Field(strict=False)] = (2.0, 4.0)
    confidence_weighting: bool = True
    weight_grid: Annotated[tuple[Share, ...], Field(strict=False)] = (0.3, 0.6, 0.9)
    teacher_candidates: Names = ()
    search_start: Share = 0.5
    search_budget: Annotated[float, between(1e-6, 1e6)] = 0.25
    max_validation_samples: Annotated[int, between(1, 10**9)] = 5000

    @field_validator("temperatures", "weight_grid")
    @classmethod
    def _check_not_empty(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values:
            raise ValueError(" is empty; name at least one")
        return values
