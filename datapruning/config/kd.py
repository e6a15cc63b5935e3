"""The recipe table [kd], and what a KD weight may be."""

from typing import Annotated, Literal

from pydantic import Field

from datapruning.config.table import Names, Share, Table, Temperature, between
from datapruning.errors import InvalidValue

Searched = Literal["temperature", "augmentation", "views", "teacher"]


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
        temperature: T of the loss where the KD weight is a number, or the temperature is not searched.
        search: what `auto` may choose beside the KD weight: "temperature", "augmentation" (random resized crops,
            CutMix), "views" (their number) and "teacher" (early checkpoints). What is left out, or set by the user, stays as
            the recipe has it.
        confidence_weighting: under `auto`, a label counts only as far as the teacher is confident in it; where the KD
            weight is a number, every sample has that weight.
        prior: a file of coefficients, as `benchmarks/fit_prior.py` writes it, in place of the package's own; empty: its own.
        teacher_candidates: networks that `teacher="auto"` trains as teachers and chooses from, and from their early
            checkpoints; it begins with the first. Empty: the teacher's own network.
        search_start: fraction of the epochs after which the probes branch off the run.
        search_budget: what the search may cost, in trainings, where a training sees a million samples or more; smaller ones
            may pay up to 0.6.
        max_probes: largest number of probes.
        max_validation_samples: largest number of samples that the probes are validated on.
    """

    temperature: Temperature = 4.0
    search: Annotated[tuple[Searched, ...], Field(strict=False)] = ("temperature", "augmentation", "views", "teacher")
    confidence_weighting: bool = False
    prior: str = ""
    teacher_candidates: Names = ()
    search_start: Share = 0.5
    search_budget: Annotated[float, between(1e-6, 1e6)] = 0.3
    max_probes: Annotated[int, between(1, 100)] = 6
    max_validation_samples: Annotated[int, between(1, 10**9)] = 5000
