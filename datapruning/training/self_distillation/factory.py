"""From a recipe to its method of self-distillation."""

import numpy as np
from numpy.typing import NDArray

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.runs.context import Context
from datapruning.training.losses import SoftLabels
from datapruning.training.schedules import planned_epochs
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.self_distillation.cs_kd import CSKD, ClassPairs
from datapruning.training.self_distillation.dlb import DLB
from datapruning.training.self_distillation.ps_kd import PSKD
from datapruning.training.self_distillation.tf_kd import TFKD, TFKDSelf

EXTRA_COMPUTE = {
    "cs-kd": "one more forward pass per step: ",
    "dlb": "every step repeats the batch before: ",
    "tf-kd-self": "its teacher is trained first; after that, ",
}


def make_self_distillation(
    context: Context, kept: NDArray[np.int64], seed: int, self_labels: SoftLabels | None, ids: NDArray[np.int64]
) -> SelfDistillation | None:
    """The method of one training of a student of the `kept` samples, by the context's recipe; None: no self-distillation.

    The training is on the samples `ids` int64, which may be fewer in a part of the run. `self_labels` are the soft labels
    of the self teacher, for "tf-kd-self" alone.
    """
    s, data = context.recipe.self_distill, context.data
    epochs = planned_epochs(context.recipe.train, len(kept), data.total)
    match s.method:
        case "cs-kd":  # a sample whose only partner is held out for validation is its own partner
            pairs = ClassPairs(ids, data.train.labels, allow_singletons=True)
            return CSKD(pairs, s.cs_kd_weight, s.cs_kd_temperature, seed)
        case "ps-kd":
            return PSKD(ids, data.classes, s.ps_kd_weight, epochs)
        case "dlb":
            return DLB(s.dlb_weight, s.dlb_temperature, min(context.recipe.views.num_views, epochs))
        case "tf-kd":
            return TFKD(s.tf_kd_weight, s.tf_kd_temperature, s.tf_kd_correct)
        case "tf-kd-self":
            assert self_labels is not None
            return TFKDSelf(self_labels, s.tf_kd_self_weight, s.tf_kd_self_temperature, s.tf_kd_self_scale)
    return None


def describe_self_distillation(settings: SelfDistillConfig) -> str:
    """The method, its numbers and its compute, for the line that a run prints before it trains."""
    numbers = ", ".join(f"{key} {value:g}" for key, value in settings.to_dict().items() if key != "method")
    times = f"{settings.compute:.3g} times " if settings.compute > 1 else ""
    extra = EXTRA_COMPUTE.get(settings.method, "")
    return f"self-distillation: {settings.method} ({numbers}); {extra}{times}the compute of plain training"
