"""The pruning stage: before a student is trained, a few batches of kept samples decide which of its weights are kept."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datapruning.config.sparsity import SparsityConfig
from datapruning.errors import InvalidValue
from datapruning.models import meta_model
from datapruning.runs.context import Context
from datapruning.runs.result import SparsityRecord
from datapruning.runs.run import Run
from datapruning.training.losses import CrossEntropy, Loss, SoftLabels
from datapruning.training.reproducibility import StepRNG, isolated_rng
from datapruning.training.sparsity.criteria import CRITERIA, SaliencyInputs
from datapruning.training.sparsity.loss_terms import SaliencyLoss
from datapruning.training.sparsity.masks import MASKS_FILE, Masks, format_count, load_masks
from datapruning.training.sparsity.prunable import layer_table, prunable
from datapruning.training.sparsity.saliency_batches import sample_saliency_batches
from datapruning.training.sparsity.threshold import count_kept, keep_largest, sparsity_schedule
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost

PASSES_PER_SAMPLE = {"full": 3.0, "first-order": 1.0}
"""Approximate cost of a sample in training passes: differentiating through a step costs two more."""


@dataclass(frozen=True)
class PruningResult:
    """Masks, the record of how they were made, and what that cost."""

    masks: Masks
    record: SparsityRecord
    cost: ComputeCost


def describe_plan(model: nn.Module, settings: SparsityConfig) -> str:
    """What will be kept, before anything is done: "keeping 3.9 k of 77.9 k weights (95.00% removed)".

    Raises:
        InvalidValue: a model with nothing to prune.
    """
    total = sum(weight.numel() for weight in prunable(model).values())
    kept = format_count(count_kept(total, settings.sparsity))
    return f"keeping {kept} of {format_count(total)} weights ({settings.sparsity:.2%} removed)"


def prune_at_init(
    context: Context,
    model: nn.Module,
    ids: NDArray[np.int64],
    task_loss: Loss,
    seed: int,
    self_teacher: SoftLabels | None = None,
) -> PruningResult:
    """Masks for a network at its initialisation, by the context's recipe; the network is left as it is.

    They are made with samples of `ids` int64, drawn by the seed. `task_loss`: what self-distillation is added to where
    "epsd" takes the saliency of both; `self_teacher`: soft labels for "tf-kd-self".

    Raises:
        InvalidValue: a model with nothing to prune, a class with one sample where pairs are needed.
        DataPruningError: a saliency that is not finite.
    """
    started = time.perf_counter()
    settings, loss = context.recipe.sparsity, SaliencyLoss(context.recipe.self_distill, task_loss)
    inner, outer = sample_saliency_batches(context, ids, seed, self_teacher)
    height, width, channels = context.shape
    inputs = SaliencyInputs(model, settings, loss, inner, outer, (channels, height, width), seed)
    rounds = settings.rounds_made
    masks: Masks | None = None
    protected: list[str] = []
    was_training = model.training
    model.train()
    rng = StepRNG(context.device, seed, -1, 1)
    try:
        with isolated_rng(context.device):  # dropout must not depend on earlier draws
            rng.seed_step(0)
            for sparsity in sparsity_schedule(settings.sparsity, rounds):
                saliency = CRITERIA[settings.criterion](inputs._replace(masks=masks))
                masks, protected = keep_largest(saliency, sparsity, settings.scope, masks)
    finally:
        model.train(was_training)
    assert masks is not None
    for name in protected:
        info(f"pruning: layer '{name}' would have lost all weights; its strongest one is kept")
    layers = layer_table(model, masks.kept_by_layer, context.shape)
    dense, sparse = (sum(layer.flops[which] for layer in layers) for which in (0, 1))
    num_samples = sum(len(batch.images) for batch in [*inner, *outer]) * rounds
    passes = PASSES_PER_SAMPLE[settings.mode] if settings.criterion in ("epsd", "prospr") else 1.0
    seconds = round(time.perf_counter() - started, 3)
    info(
        f"pruned by {settings.criterion} in {seconds:.1f} s: {masks}; {dense / 1e6:.1f} M FLOPs an image, "
        f"{sparse / 1e6:.1f} M if zeros were skipped (single zeros save weights, not time)"
    )
    record = SparsityRecord(
        settings=settings, rounds=rounds, kept=masks.kept, total=masks.total, masks=masks.digest,
        protected=tuple(protected), flops=dense, flops_without_zeros=sparse, layers=tuple(layers),
    )  # fmt: skip
    return PruningResult(masks, record, ComputeCost(round(num_samples * passes), 0, seconds))


def check_epsd(context: Context, weight: float | None) -> None:
    """Refuse what cannot be pruned, before anything is trained; print what will be kept.

    Raises:
        InvalidValue: nothing to prune, "epsd" without a loss of its own, "kd" without a teacher.
    """
    settings, self_distill = context.recipe.sparsity, context.recipe.self_distill
    if not settings.sparsity:
        return
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
    model = meta_model(context.recipe.train.model, context.shape, context.data.classes)
    info(f"student: {describe_plan(model, settings)}, by {settings.criterion}")


def load_or_make_masks(
    context: Context, run: Run, ids: NDArray[np.int64], student_loss: Loss, seed: int, self_teacher: SoftLabels | None
) -> PruningResult | None:
    """The masks of a student's run: made once (see `prune_at_init`), then read from its folder. None without pruning.

    `student_loss` is the loss that the student will be trained with, which may have a teacher.

    Raises:
        InvalidFile: broken masks.
        IncompatibleInputs: those of another model. InvalidValue, DataPruningError: see `prune_at_init`.
    """
    recipe = context.recipe
    settings, path = recipe.sparsity, run.folder / MASKS_FILE
    if not settings.sparsity:
        return None
    model = context.new_model(recipe.train.model, seed)
    if path.exists():
        masks, metadata = load_masks(path)
        masks.check_fits(model)
        info(f"pruning: using {path}, {masks}")
        return PruningResult(masks, metadata.sparsity, metadata.cost)
    task_loss = student_loss if settings.loss == "kd" else CrossEntropy(recipe.train.label_smoothing)
    pruned = prune_at_init(context, model, ids, task_loss, seed, self_teacher)
    pruned.masks.save(path, pruned.record, pruned.cost)
    return pruned
