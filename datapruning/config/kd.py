"""The recipe table [kd], and what a KD weight may be."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.config.training import Training as Training
from datapruning.config.training import within
from datapruning.errors import InvalidValue


@dataclass(frozen=True)
class KD:
    """Distillation: temperature T, and how `--kd-weight auto` searches.

    Attributes:
        temperature: T of the objective where the KD weight is a number.
        temperatures: that `auto` tries; it begins with the first.
        trust: under `auto`, a label counts only as far as the teacher believes it; where the KD weight is a number, every
            sample has that weight.
        grid: KD weights that probes try.
        ladder: networks that `--teacher auto` trains as teachers and chooses from; it begins with the first.
        fork: share of the epochs after which the run is forked for the probes.
        search: what the search may cost, in trainings, where a training sees 100,000 samples or more; small ones may pay
            up to 0.8.
        validation: samples that judge the probes, at most.
    """

    temperature: float = 4.0
    temperatures: tuple[float, ...] = (2.0, 4.0)
    trust: bool = True
    grid: tuple[float, ...] = (0.3, 0.6, 0.9)
    ladder: tuple[str, ...] = ()
    fork: float = 0.5
    search: float = 0.25
    validation: int = 5000

    def __post_init__(self) -> None:
        within("temperature", self.temperature, 1e-3, 1e6)
        within("fork", self.fork, 0, 1)
        within("search", self.search, 1e-6, 1e6)
        within("validation", self.validation, 1, 10**9)
        if not self.grid:
            raise InvalidValue("kd.grid is empty; name at least one KD weight")
        if not self.temperatures:
            raise InvalidValue("kd.temperatures is empty; name at least one temperature")
        for temperature in self.temperatures:
            within("temperatures", temperature, 1e-3, 1e6)
        for weight in self.grid:
            check_kd_weight(weight)


def check_kd_weight(weight: float) -> float:
    """A KD weight a, 0 <= a <= 1.

    Raises:
        InvalidValue: outside, or NaN.
    """
    if not 0 <= weight <= 1:
        raise InvalidValue(f"the KD weight lies in 0..1 (0: labels alone, 1: teacher alone), or is 'auto'; got {weight}")
    return weight
