"""The pruning stage: before a student is trained, a few looks at kept samples decide which of its weights stay."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.errors import InvalidValue
from datapruning.models import model_outline
from datapruning.runs.context import Context
from datapruning.runs.result import SparsityRecord
from datapruning.runs.run import Run
from datapruning.training.losses import CrossEntropy, Loss, SoftLabels
from datapruning.training.rng import StepRNG, isolated_rng
from datapruning.training.sparsity.criteria import Case, saliency
from datapruning.training.sparsity.masks import FILE, Masks, amount, load_masks
from datapruning.training.sparsity.prunable import layer_table, prunable
from datapruning.training.sparsity.saliency_batches import draw_looks
from datapruning.training.sparsity.threshold import count_kept, keep_largest, rounds_of
from datapruning.utils.console import say
from datapruning.utils.cost import ComputeCost

PASSES = {"full": 3.0, "first-order": 1.0}
"""What a sample of a look costs in training passes, about: differentiating through a step is twice as much again."""


@dataclass(frozen=True)
class Pruned:
    """Masks, the record of how they were made, and what that cost."""

    masks: Masks
    record: SparsityRecord
    cost: ComputeCost


def announce(model: nn.Module, settings: SparsityConfig) -> str:
    """What will be kept, before anything is done: "keeping 3.9 k of 77.9 k weights (95.00% removed)".

    Raises:
        InvalidValue: a model with nothing to prune.
    """
    total = sum(weight.numel() for weight in prunable(model).values())
    kept = amount(count_kept(total, settings.sparsity))
    return f"keeping {kept} of {amount(total)} weights ({settings.sparsity:.2%} removed)"


def prune_at_start(
    context: Context,
    model: nn.Module,
    ids: NDArray[np.int64],
    settings: SparsityConfig,
    self_distill: SelfDistillConfig,
    base: Loss,
    seed: int,
    self_teacher: SoftLabels | None = None,
) -> Pruned:
    """Masks for a network at its initialisation.

    Args:
        context: dataset, loaders.
        model: at its initialisation; left as it is.
        ids: int64, the kept samples.
        settings: of the stage.
        self_distill: the method whose loss "epsd" takes; "none" elsewhere.
        base: the objective that self-distillation is added to.
        seed: of the samples that are looked at.
        self_teacher: soft labels for "tf-kd-self".

    Raises:
        InvalidValue: a model with nothing to prune, a class with one sample where pairs are needed.
        DataPruningError: a saliency that is not finite.
    """
    started = time.perf_counter()
    inside, outside = draw_looks(context, ids, settings, self_distill, seed, self_teacher)
    height, width, channels = context.shape
    case = Case(model, settings, self_distill, base, inside, outside, (channels, height, width), seed)
    rounds = settings.rounds_made
    masks: Masks | None = None
    protected: list[str] = []
    was_training = model.training
    model.train()
    rng = StepRNG(context.device, seed, -1, 1)
    try:
        with isolated_rng(context.device):  # dropout draws the same whatever was drawn before
            rng.seed_step(0)
            for removed in rounds_of(settings.sparsity, rounds):
                masks, protected = keep_largest(saliency(case._replace(masks=masks)), removed, settings.scope, masks)
    finally:
        model.train(was_training)
    assert masks is not None
    for name in protected:
        say(f"pruning: layer '{name}' would have been cut to nothing; its strongest weight stays")
    layers = layer_table(model, masks.kept_by_layer, context.shape)
    dense, sparse = (sum(layer.flops[which] for layer in layers) for which in (0, 1))
    seen = sum(len(look.images) for look in [*inside, *outside]) * rounds
    passes = PASSES[settings.mode] if settings.criterion in ("epsd", "prospr") else 1.0
    seconds = round(time.perf_counter() - started, 3)
    say(
        f"pruned by {settings.criterion} in {seconds:.1f} s: {masks}; {dense / 1e6:.1f} M FLOPs a picture, "
        f"{sparse / 1e6:.1f} M if zeros were skipped (single zeros save weights, not time)"
    )
    record = SparsityRecord(
        settings=settings, rounds=rounds, kept=masks.kept, total=masks.total, masks=masks.digest,
        protected=tuple(protected), flops=dense, flops_without_zeros=sparse, layers=tuple(layers),
    )  # fmt: skip
    return Pruned(masks, record, ComputeCost(round(seen * passes), 0, seconds))


def check_epsd(context: Context, weight: float | None) -> None:
    """Refuse what cannot be pruned, before anything is trained; says what will be kept.

    Raises:
        InvalidValue: nothing to prune, "epsd" without a loss of its own, "kd" without a teacher.
    """
    settings, how = context.recipe.sparsity, context.recipe.self_distill
    if not settings.sparsity:
        return
    if settings.criterion == "epsd" and settings.loss == "kd" and weight == 0:
        raise InvalidValue(
            'sparsity.loss = "kd" takes the saliency of the teacher\'s loss, but with KD weight 0 there is no teacher'
        )
    if settings.criterion == "epsd" and settings.loss == "self-distill" and not how.enabled:
        raise InvalidValue(
            "epsd takes the saliency of a self-distillation loss: name one with --self-distill (cs-kd, ps-kd, dlb, tf-kd), "
            "or prune by the labels alone with the criterion prospr"
        )
    outline = model_outline(context.recipe.train.model, context.shape, context.data.classes)
    say(f"student: {announce(outline, settings)}, by {settings.criterion}")


def masks_of(
    context: Context,
    run: Run,
    ids: NDArray[np.int64],
    with_teacher: Loss,
    seed: int,
    self_teacher: SoftLabels | None,
) -> Pruned | None:
    """The masks of a student's run: made once, then read from its folder (`masks.npz`). None where nothing is pruned.

    Args:
        context: dataset, recipe, loaders.
        run: claimed by the caller.
        ids: int64, the kept samples.
        with_teacher: the student's objective.
        seed: of the run.
        self_teacher: soft labels for "tf-kd-self".

    Raises:
        InvalidFile: broken masks.
        IncompatibleInputs: those of another model. InvalidValue, DataPruningError: see `prune_at_start`.
    """
    recipe = context.recipe
    settings, path = recipe.sparsity, run.folder / FILE
    if not settings.sparsity:
        return None
    model = context.new_model(recipe.train.model, seed)
    if path.exists():
        masks, metadata = load_masks(path)
        masks.check_fits(model)
        say(f"pruning: using {path}, {masks}")
        return Pruned(masks, metadata.sparsity, metadata.cost)
    base = with_teacher if settings.loss == "kd" else CrossEntropy(recipe.train.label_smoothing)
    pruned = prune_at_start(context, model, ids, settings, recipe.self_distill, base, seed, self_teacher)
    pruned.masks.save(path, pruned.record, pruned.cost)
    return pruned
