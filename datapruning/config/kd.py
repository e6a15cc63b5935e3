"""The recipe table [kd], and what a KD weight may be."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.config.training import TrainConfig as TrainConfig
from datapruning.config.training import within
from datapruning.errors import InvalidValue


@dataclass(frozen=True)
class KDConfig:
    """Distillation: temperature T, and how `--kd-weight auto` searches.

    Attributes:
        temperature: T of the objective where the KD weight is a number.
        temperatures: that `auto` tries; it begins with the first.
        confidence_weighting: under `auto`, a label counts only as far as the teacher believes it; where the KD weight is
            a number, every sample has that weight.
        weight_grid: KD weights that probes try.
        teacher_candidates: networks that `--teacher auto` trains as teachers and chooses from; it begins with the first.
        search_start: share of the epochs after which the run is forked for the probes.
        search_budget: what the search may cost, in trainings, where a training sees 100,000 samples or more; small ones
            may pay up to 0.8.
        max_validation_samples: samples that judge the probes, at most.
    """

    temperature: float = 4.0
    temperatures: tuple[float, ...] = (2.0, 4.0)
    confidence_weighting: bool = True
    weight_grid: tuple[float, ...] = (0.3, 0.6, 0.9)
    teacher_candidates: tuple[str, ...] = ()
    search_start: float = 0.5
    search_budget: float = 0.25
    max_validation_samples: int = 5000

    def __post_init__(self) -> None:
        within("temperature", self.temperature, 1e-3, 1e6)
        within("search_start", self.search_start, 0, 1)
        within("search_budget", self.search_budget, 1e-6, 1e6)
        within("max_validation_samples", self.max_validation_samples, 1, 10**9)
        if not self.weight_grid:
            raise InvalidValue("kd.weight_grid is empty; name at least one KD weight")
        if not self.temperatures:
            raise InvalidValue("kd.temperatures is empty; name at least one temperature")
        for temperature in self.temperatures:
            within("temperatures", temperature, 1e-3, 1e6)
        for weight in self.weight_grid:
            check_kd_weight(weight)


def check_kd_weight(weight: float) -> float:
    """A KD weight a, 0 <= a <= 1.

    Raises:
        InvalidValue: outside, or NaN.
    """
    if not 0 <= weight <= 1:
        raise InvalidValue(f"the KD weight lies in 0..1 (0: labels alone, 1: teacher alone), or is 'auto'; got {weight}")
    return weight
