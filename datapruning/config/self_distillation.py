"""Settings of self-distillation, as plain numbers: the recipe's table [self_distill]. Cheap to import."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from datapruning.errors import InvalidValue, UnknownName
from datapruning.utils.cost import FORWARD_PASS_COST

NONE = "none"
KEYS = {
    NONE: (),
    "cs-kd": ("cs_kd_weight", "cs_kd_temperature"),
    "ps-kd": ("ps_kd_weight",),
    "dlb": ("dlb_weight", "dlb_temperature"),
    "tf-kd": ("tf_kd_weight", "tf_kd_temperature", "tf_kd_correct"),
    "tf-kd-self": ("tf_kd_self_weight", "tf_kd_self_temperature", "tf_kd_self_scale"),
}
"""The methods, and the settings that each reads."""
COMPANIONS = {"dlb": "trained", "cs-kd": "forward"}
"""Methods whose batches come with as many other pictures: these go through a training pass, or a forward pass alone."""
SHARES = ("ps_kd_weight", "tf_kd_weight", "tf_kd_correct", "tf_kd_self_weight")
FACTORS = ("cs_kd_weight", "dlb_weight", "tf_kd_self_scale")
TEMPERATURES = ("cs_kd_temperature", "dlb_temperature", "tf_kd_temperature", "tf_kd_self_temperature")


@dataclass(frozen=True)
class SelfDistillConfig:
    """How a student learns from itself; the numbers of the authors' code (docs/self-distillation.md has the formulas).

    Attributes:
        method: "none", "cs-kd", "ps-kd", "dlb", "tf-kd" or "tf-kd-self".
        cs_kd_weight: weight of the term (Yun et al. 2020).
        cs_kd_temperature: T of both sides.
        ps_kd_weight: share of the earlier prediction at the end of the run (Kim et al. 2021).
        dlb_weight: weight of the term (Shen et al. 2022).
        dlb_temperature: T of both sides.
        tf_kd_weight: share of the virtual teacher (Yuan et al. 2020).
        tf_kd_temperature: T of the virtual teacher's probabilities.
        tf_kd_correct: its probability of the label.
        tf_kd_self_weight: share of the self teacher (Yuan et al. 2020).
        tf_kd_self_temperature: T of both sides.
        tf_kd_self_scale: multiplies the self teacher's term. Their 50, with a mean over batch and classes, is 50 / 100
            classes with our sum over classes.
    """

    method: str = NONE
    cs_kd_weight: float = 1.0
    cs_kd_temperature: float = 4.0
    ps_kd_weight: float = 0.8
    dlb_weight: float = 0.5
    dlb_temperature: float = 3.0
    tf_kd_weight: float = 0.1
    tf_kd_temperature: float = 20.0
    tf_kd_correct: float = 0.99
    tf_kd_self_weight: float = 0.95
    tf_kd_self_temperature: float = 6.0
    tf_kd_self_scale: float = 0.5

    def __post_init__(self) -> None:
        if self.method not in KEYS:
            raise UnknownName("method of self-distillation", self.method, KEYS)
        for names, low, high in ((SHARES, 0.0, 1.0), (FACTORS, 0.0, 1e6), (TEMPERATURES, 1e-3, 1e6)):
            for name in names:
                if not low <= getattr(self, name) <= high:
                    raise InvalidValue(f"{name} lies in {low:g}..{high:g}; got {getattr(self, name)}")

    @property
    def on(self) -> bool:
        """Whether there is any."""
        return self.method != NONE

    @property
    def used(self) -> dict[str, Any]:
        """The method and the settings that it reads: what names a run, so that the others' do not matter."""
        return {key: value for key, value in asdict(self).items() if key == "method" or key in KEYS[self.method]}

    @property
    def compute(self) -> float:
        """An update's cost in those of plain training; a forward pass is a third of a training pass."""
        return 1 + {"trained": 1.0, "forward": FORWARD_PASS_COST}.get(COMPANIONS.get(self.method, ""), 0.0)
