"""The recipe table [self_distill]."""

from typing import Annotated, Literal

from datapruning.config.table import Share, Table, Temperature, between
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
EXTRA_PASSES = {"dlb": 1.0, "cs-kd": FORWARD_PASS_COST}
"""Training passes over an auxiliary batch for each training step, of the methods that have one ("cs-kd": forward alone)."""
Factor = Annotated[float, between(0, 1e6)]


class SelfDistillConfig(Table):
    """How a student learns from itself; the numbers of the authors' code (docs/self-distillation.md has the formulas).

    Attributes:
        method: "none", "cs-kd", "ps-kd", "dlb", "tf-kd" or "tf-kd-self".
        cs_kd_weight: weight of the term (Yun et al. 2020).
        cs_kd_temperature: T of both sides.
        ps_kd_weight: weight of the earlier prediction at the end of the run (Kim et al. 2021).
        dlb_weight: weight of the term (Shen et al. 2022).
        dlb_temperature: T of both sides.
        tf_kd_weight: weight of the virtual teacher (Yuan et al. 2020).
        tf_kd_temperature: T of the virtual teacher's probabilities.
        tf_kd_correct: the virtual teacher's probability of the label.
        tf_kd_self_weight: weight of the self teacher (Yuan et al. 2020).
        tf_kd_self_temperature: T of both sides.
        tf_kd_self_scale: factor of the self teacher's term. Their 50, with a mean over batch and classes, is 50 / 100
            classes with our sum over classes.
    """

    method: Literal["none", "cs-kd", "ps-kd", "dlb", "tf-kd", "tf-kd-self"] = "none"
    cs_kd_weight: Factor = 1.0
    cs_kd_temperature: Temperature = 4.0
    ps_kd_weight: Share = 0.8
    dlb_weight: Factor = 0.5
    dlb_temperature: Temperature = 3.0
    tf_kd_weight: Share = 0.1
    tf_kd_temperature: Temperature = 20.0
    tf_kd_correct: Share = 0.99
    tf_kd_self_weight: Share = 0.95
    tf_kd_self_temperature: Temperature = 6.0
    tf_kd_self_scale: Factor = 0.5

    @property
    def enabled(self) -> bool:
        """Whether there is any self-distillation."""
        return self.method != NONE

    def unused_keys(self) -> set[str]:
        """The settings of all other methods."""
        return set(type(self).model_fields) - {"method", *KEYS[self.method]}

    @property
    def compute(self) -> float:
        """An update's cost in those of plain training; a forward pass is a third of a training pass."""
        return 1 + EXTRA_PASSES.get(self.method, 0.0)
