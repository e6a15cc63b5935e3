"""Whether a student can be pruned as its recipe asks, before anything is trained."""

from datapruning.errors import InvalidValue
from datapruning.models import meta_model
from datapruning.runs.context import Context
from datapruning.utils.console import info


def check_epsd(context: Context, weight: float | None) -> None:
    """Refuse what cannot be pruned, before anything is trained; print what will be kept.

    Raises:
        InvalidValue: nothing to prune, a floor where layers are pruned one by one, "epsd" without a loss of its own, "kd"
            without a teacher.
    """
    settings, self_distill = context.recipe.sparsity, context.recipe.self_distill
    if not settings.sparsity:
        return
    if settings.floor and settings.scope != "global":
        raise InvalidValue('sparsity.floor goes with sparsity.scope = "global": the other scopes decide layer by layer')
    if settings.criterion == "epsd" and settings.loss == "kd" and weight == 0:
        raise InvalidValue(
            'sparsity.loss = "kd" takes the saliency of the teacher\'s loss, but with KD weight 0 there is no teacher'
        )
    if settings.criterion == "epsd" and settings.loss == "self-distill" and not self_distill.enabled:
        raise InvalidValue(
            "epsd takes the saliency of a self-distillation loss: name a method (cs-kd, ps-kd, dlb, tf-kd), or "
            "prune by the labels alone with the criterion prospr",
            parameter="self_distill",
        )
    from datapruning.training.sparsity.prune import describe_plan

    model = meta_model(context.recipe.train.model, context.shape, context.data.classes)
    info(f"student: {describe_plan(model, settings)}, by {settings.criterion}")
