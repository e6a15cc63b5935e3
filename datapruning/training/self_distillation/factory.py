"""From settings to methods: a run may train in parts (shared prefix, probes, the rest), each with a new method."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.config.recipe import Recipe
from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.errors import InvalidValue
from datapruning.runs.context import Context
from datapruning.training.losses import SoftLabels
from datapruning.training.schedules import planned_epochs
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.self_distillation.class_pairs import ClassPairs
from datapruning.training.self_distillation.cs_kd import CSKD
from datapruning.training.self_distillation.dlb import DLB
from datapruning.training.self_distillation.ps_kd import PSKD
from datapruning.training.self_distillation.tf_kd import TFKD, TFKDSelf


@dataclass(frozen=True)
class SelfDistillationFactory:
    """What methods are made from.

    Attributes:
        settings: the method and its numbers.
        labels: int64 [N], of all samples by id.
        classes: number of classes.
        epochs: of the whole run.
        views: different views that the run sees.
        seed: of the run.
        self_labels: soft labels of the self teacher, for "tf-kd-self" alone.
    """

    settings: SelfDistillConfig
    labels: NDArray[np.int64]
    classes: int
    epochs: int
    views: int
    seed: int
    self_labels: SoftLabels | None = None

    def build(self, ids: NDArray[np.int64]) -> SelfDistillation | None:
        """The method of a training on `ids` int64; None: no self-distillation."""
        s = self.settings
        match s.method:
            case "cs-kd":  # a sample whose only partner is held out for validation is its own partner
                pairs = ClassPairs(ids, self.labels, allow_singletons=True)
                return CSKD(pairs, s.cs_kd_weight, s.cs_kd_temperature, self.seed)
            case "ps-kd":
                return PSKD(ids, self.classes, s.ps_kd_weight, self.epochs)
            case "dlb":
                return DLB(s.dlb_weight, s.dlb_temperature, self.views)
            case "tf-kd":
                return TFKD(s.tf_kd_weight, s.tf_kd_temperature, s.tf_kd_correct)
            case "tf-kd-self":
                assert self.self_labels is not None
                return TFKDSelf(self.self_labels, s.tf_kd_self_weight, s.tf_kd_self_temperature, s.tf_kd_self_scale)
        return None


def make_factory(
    context: Context, kept: NDArray[np.int64], seed: int, self_labels: SoftLabels | None = None
) -> SelfDistillationFactory:
    """The factory of a student of `kept` int64, by the context's recipe."""
    recipe, data = context.recipe, context.data
    epochs = planned_epochs(recipe.train, len(kept), data.total)
    views = min(recipe.views.num_views, epochs)
    return SelfDistillationFactory(recipe.self_distill, data.train.labels, data.classes, epochs, views, seed, self_labels)


def check_combination(recipe: Recipe) -> None:
    """Refuse settings that exclude each other.

    Raises:
        InvalidValue: self-distillation with dynamic pruning, with gradient accumulation or with CutMix.
    """
    method = recipe.self_distill.method
    if recipe.self_distill.enabled and recipe.train.infobatch:
        raise InvalidValue(
            f"self-distillation ({method}) and infobatch {recipe.train.infobatch:g} do not go together: set one of them "
            "to none or 0"
        )
    if recipe.self_distill.enabled and recipe.train.grad_accum_steps > 1:
        raise InvalidValue(
            f"self-distillation ({method}) and train.grad_accum_steps {recipe.train.grad_accum_steps} do not go together: "
            "set one of them to none or 1"
        )
    if recipe.self_distill.enabled and recipe.cutmix.prob:
        raise InvalidValue(
            f"self-distillation ({method}) and cutmix.prob {recipe.cutmix.prob:g} do not go together: set one of them to "
            "none or 0"
        )


def check_pairs(context: Context, kept: NDArray[np.int64]) -> None:
    """Where the method pairs samples of a class, refuse kept samples without a partner.

    Raises:
        InvalidValue: naming the classes.
    """
    if context.recipe.self_distill.method == "cs-kd":
        ClassPairs(kept, context.data.train.labels)
