"""The pruning stage: before a student is trained, a few batches of kept samples decide which of its weights are kept."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.sparsity import SparsityConfig
from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.models import MODELS
from datapruning.models.flops import network_flops
from datapruning.runs.context import Context
from datapruning.runs.run import Run
from datapruning.runs.training_records import SparsityRecord
from datapruning.training.data_init import initialize_from_images
from datapruning.training.losses import CrossEntropy, Loss, SoftLabels
from datapruning.training.reproducibility import StepRNG, isolated_rng
from datapruning.training.self_distillation.cs_kd import ClassPairs
from datapruning.training.sparsity.connectivity import find_cut_layer
from datapruning.training.sparsity.criteria import CRITERIA, DATA_FREE, SaliencyInputs
from datapruning.training.sparsity.layer_counts import layer_counts
from datapruning.training.sparsity.masks import MASKS_FILE, Masks, format_count, load_masks
from datapruning.training.sparsity.meta_gradient import SaliencyBatch, SaliencyLoss
from datapruning.training.sparsity.prunable import layer_table, prunable
from datapruning.training.sparsity.threshold import Kept, count_kept, keep_largest, sparsity_schedule, to_masks
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost, passes_flops
from datapruning.utils.hashing import hash_permutation

SALIENCY_KEY = 0x100C5
GRASP_PER_CLASS = 10
MAX_ZEROS = 0.1
"""Share of weights that may be 0 at the start without a warning."""
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
        InvalidValue: a model with nothing to prune, or so few weights kept that a layer would have none.
    """
    weights = prunable(model)
    total = sum(weight.numel() for weight in weights.values())
    if count_kept(total, settings.sparsity) < len(weights):
        raise InvalidValue(
            f"sparsity {settings.sparsity:g} keeps {count_kept(total, settings.sparsity)} of {total:,} weights, fewer than "
            f"the {len(weights)} layers: a layer would have none; it is at most "
            f"{math.floor(1e6 * (1 - len(weights) / total)) / 1e6:g}",
            parameter="sparsity",
        )
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
        InvalidValue: a model with nothing to prune, a class with one sample where pairs are needed, or masks that leave no
            way from the images to the output.
        DataPruningError: a saliency that is not finite.
    """
    started = time.perf_counter()
    settings, loss = context.recipe.sparsity, SaliencyLoss(context.recipe.self_distill, task_loss)
    inner, outer = sample_saliency_batches(context, ids, seed, self_teacher)
    height, width, channels = context.shape
    inputs = SaliencyInputs(model, settings, loss, inner, outer, (channels, height, width), seed)
    rounds = settings.rounds_made
    kept: Kept | None = None
    protected: list[str] = []
    was_training = model.training
    model.train()
    rng = StepRNG(context.device, seed, -1, 1)
    try:
        with isolated_rng(context.device):  # dropout must not depend on earlier draws
            rng.seed_step(0)
            counts = layer_counts(inputs, rounds)
            for sparsity, by_layer in zip(sparsity_schedule(settings.sparsity, rounds), counts, strict=True):
                saliency = CRITERIA[settings.criterion](inputs._replace(masks=kept))
                kept, protected = keep_largest(saliency, sparsity, kept, counts=by_layer, floor=settings.floor)
    finally:
        model.train(was_training)
    assert kept is not None
    masks = to_masks(kept)
    cut = find_cut_layer(model, masks, context.shape)
    if cut is not None:
        other = "" if settings.criterion == "synflow" else ", or use the criterion synflow"
        raise InvalidValue(
            f"pruned by {settings.criterion} to {masks.kept:,} of {masks.total:,} weights, nothing of the images passes "
            f"layer '{cut}': the output would not depend on them; remove fewer weights{other}",
            parameter="sparsity",
        )
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
    num_passes = round(num_samples * passes)
    flops = passes_flops(network_flops(model), num_passes)
    return PruningResult(masks, record, ComputeCost(num_passes, 0, seconds, flops))


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
    model = context.new_model(recipe.train.model, seed, "student")
    if path.exists():
        masks, metadata = load_masks(path)
        masks.check_fits(model, f"the masks in {path}")
        info(f"pruning: using {path}, {masks}")
        return PruningResult(masks, metadata.sparsity, metadata.cost)
    initialize_from_images(model, context.loader("train"), ids, context.views)
    _warn_of_zeros(recipe.train.model, model, settings.criterion)
    # Labels are not smoothed, as in SNIP and ProsPr: criteria then differ by the term of self-distillation alone.
    task_loss = student_loss if settings.loss == "kd" else CrossEntropy()
    pruned = prune_at_init(context, model, ids, task_loss, seed, self_teacher)
    pruned.masks.save(path, pruned.record, pruned.cost)
    return pruned


def _warn_of_zeros(name: str, model: nn.Module, criterion: str) -> None:
    """Say so where many weights are 0 at the start: all criteria but a random one are a weight times something."""
    weights = prunable(model).values()
    share = int(torch.stack([(weight == 0).sum() for weight in weights]).sum()) / sum(weight.numel() for weight in weights)
    if share > MAX_ZEROS and criterion != "random":
        other = f"{name}-random-init"
        advice = f"; take the network {other}, which begins at random" if other in MODELS else ""
        info(f"warning: {share:.0%} of the weights of {name} are 0 at its start, and {criterion} cannot rank them{advice}")


def sample_saliency_batches(
    context: Context, ids: NDArray[np.int64], seed: int, self_teacher: SoftLabels | None
) -> tuple[list[SaliencyBatch], list[SaliencyBatch]]:
    """(inner batches, outer batches), drawn by the seed from the kept samples `ids` int64, by the context's recipe.

    Raises:
        InvalidValue: a class with one sample where pairs are needed.
    """
    settings, views = context.recipe.sparsity, context.views
    if settings.criterion in DATA_FREE:
        return [], []
    loader = context.loader("train")
    steps = settings.inner_steps if settings.criterion in ("epsd", "prospr") else 0
    count = settings.batches + (steps if settings.fresh_inner_batches else 0)
    if settings.criterion == "grasp":
        batches = list(_balanced(ids, context.data.train.labels, settings.batches, seed))
    else:
        batches = list(_batches(ids, settings.batch_size, count, seed))
    method = context.recipe.self_distill.method if settings.criterion == "epsd" else "none"
    paired: Iterable[Tensor | None] = [None] * len(batches)
    if method == "cs-kd":
        pairs = ClassPairs(ids, context.data.train.labels)
        paired = [images for _, images in views.read(loader, [pairs.draw(batch, seed, 0) for batch in batches], 0)]
    elif method == "dlb":
        paired = [images for _, images in views.read(loader, batches, 1)]
    read = []
    for (batch, images), paired_images in zip(views.read(loader, batches, 0), paired, strict=True):
        logits = None if self_teacher is None else self_teacher[batch.ids, 0].to(images.device)
        read.append(SaliencyBatch(images, Batch(batch.images, batch.labels, batch.ids), paired_images, logits))
    outer = read[: settings.batches]
    return (read[settings.batches :] if settings.fresh_inner_batches else [outer[0]] * steps), outer


def _batches(ids: NDArray[np.int64], size: int, count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """So many batches of at most `size` samples, from as many passes over the ids as it takes."""
    num_batches, epoch = 0, 0
    while num_batches < count:
        order = hash_permutation(ids, SALIENCY_KEY, seed, epoch)
        sizes = [size] * (len(ids) // size) or [len(ids)]
        for batch in np.split(order, np.cumsum(sizes))[: min(len(sizes), count - num_batches)]:
            yield batch
            num_batches += 1
        epoch += 1


def _balanced(ids: NDArray[np.int64], labels: NDArray[np.int64], count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Batches of `GRASP_PER_CLASS` samples of each class, or all where a class has fewer."""
    for number in range(count):
        order = hash_permutation(ids, SALIENCY_KEY, seed, number)
        yield np.concatenate([order[labels[order] == c][:GRASP_PER_CLASS] for c in np.unique(labels[ids])])
