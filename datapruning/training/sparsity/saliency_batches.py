"""The few batches of kept samples that a saliency is taken on, drawn by the run's seed."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.batching import batch_sizes
from datapruning.data.loaders.loader import Batch
from datapruning.runs.context import Context
from datapruning.training.losses import SoftLabels
from datapruning.training.self_distillation.cs_kd import ClassPairs
from datapruning.training.sparsity.criteria import DATA_FREE
from datapruning.training.sparsity.loss_terms import SaliencyBatch
from datapruning.utils.hashing import hash_permutation

SALIENCY_KEY = 0x100C5
GRASP_PER_CLASS = 10


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
        batches = list(_balanced(ids, context.data.train.labels, GRASP_PER_CLASS, settings.batches, seed))
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
        sizes = [n for n in batch_sizes(len(ids), size) if n >= min(size, len(ids))] or [len(ids)]
        for batch in np.split(order, np.cumsum(sizes))[: min(len(sizes), count - num_batches)]:
            yield batch
            num_batches += 1
        epoch += 1


def _balanced(
    ids: NDArray[np.int64], labels: NDArray[np.int64], per_class: int, count: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Batches of so many samples of each class, or all where a class has fewer."""
    for number in range(count):
        order = hash_permutation(ids, SALIENCY_KEY, seed, number)
        yield np.concatenate([order[labels[order] == c][:per_class] for c in np.unique(labels[ids])])
