"""Settings of different tables that exclude each other."""

from datapruning.config.recipe import Recipe
from datapruning.errors import InvalidValue


def check_combination(recipe: Recipe) -> None:
    """Refuse settings that exclude each other.

    Raises:
        InvalidValue: self-distillation with dynamic pruning, with gradient accumulation, with CutMix or with mixup.
    """
    others = (
        ("infobatch", recipe.train.infobatch, 0),
        ("train.grad_accum_steps", recipe.train.grad_accum_steps, 1),
        ("cutmix.prob", recipe.cutmix.prob, 0),
        ("mixup.prob", recipe.mixup.prob, 0),
    )
    for key, value, neutral in others:
        if recipe.self_distill.enabled and value != neutral:
            raise InvalidValue(
                f"self-distillation ({recipe.self_distill.method}) and {key} {value:g} do not go together: set one of them "
                f"to none or {neutral}"
            )
