"""Pieces of a training step: its micro-batches, their gradients, and the update."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from datapruning.config.training import TrainConfig
from datapruning.data.loaders.loader import Batch
from datapruning.training.distributed.sharding import micro_batch_shards
from datapruning.training.losses import Loss, LossTerms
from datapruning.training.self_distillation.base import AuxiliaryBatch, Forward, SelfDistillation
from datapruning.training.sparsity.masks import MaskEnforcer


def micro_batches(
    batch: Batch, images: Tensor, config: TrainConfig, total: int | None = None
) -> Iterator[tuple[Batch, Tensor, float]]:
    """(micro-batch, its images, its share of the batch) for each part of at most `batch_size` samples, in order.

    A single last sample joins the part before, because batch norm has nothing to normalise in one. Without gradient
    accumulation: the batch itself. Where several processes share a batch of `total` samples, `batch` has those of this
    process, and shares are those of the whole.
    """
    total, start = len(batch.ids) if total is None else total, 0
    shards = micro_batch_shards(total, config)
    if len(shards) == 1:
        yield batch, images, len(batch.ids) / total
        return
    for shard in shards:
        size = shard.stop - shard.start
        yield batch.rows(start, start + size), images[start : start + size], size / total
        start += size


def resize(images: Tensor, side: int) -> Tensor:
    """Scale images float32 [n, channels, height, width] to `side` pixels each way, smoothed before; 0 leaves them alone."""
    if not side:
        return images
    return interpolate(images, (side, side), mode="bilinear", antialias=True)


def optimizer_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig, weight_masks: MaskEnforcer | None
) -> None:
    """From the gradients of an update to new weights: removed weights get no gradient, long gradients are clipped."""
    if weight_masks is not None:
        weight_masks.before_update()
    if config.clip_grad_norm:
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad_norm)
    optimizer.step()


class StepInputs(NamedTuple):
    """What a training step computes with, on the device.

    Attributes:
        batch: `batch.images` are the views, float32 [n, channels, height, width].
        auxiliary: what self-distillation asks for.
        weights: the samples' weights float32 [n] under dynamic pruning.
    """

    batch: Batch
    auxiliary: AuxiliaryBatch | None
    weights: Tensor | None


class PartOutputs(NamedTuple):
    """What comes of a micro-batch: logits float32 [n, classes] and scalar losses, without gradients.

    Under dynamic pruning `sample_losses`, [n], are recorded, and `weights`, [n], are the samples'.
    """

    logits: Tensor
    losses: LossTerms
    sample_losses: Tensor | None
    weights: Tensor | None


def forward_backward(
    forward: Forward,
    inputs: StepInputs,
    loss: Loss,
    method: SelfDistillation | None,
    config: TrainConfig,
    epoch: int,
    total: int,
) -> list[PartOutputs]:
    """Add the gradients of a step, those of its micro-batches, which share a batch of `total` samples."""
    outputs: list[PartOutputs] = []
    begin = 0
    for part, images, share in micro_batches(inputs.batch, inputs.batch.images, config, total):
        weights, sample_losses = None, None
        if method is not None:
            logits, losses = method.step(forward, loss, part, images, inputs.auxiliary, epoch)
        elif inputs.weights is not None:
            logits, weights = forward(images), inputs.weights[begin : begin + len(part.ids)]
            per_sample = loss.per_sample(logits, part, epoch)
            losses, sample_losses = per_sample.weighted_mean(weights), per_sample.total.detach()
        else:
            logits = forward(images)
            losses = loss(logits, part, epoch)
        (losses.total if share == 1 else losses.total * share).backward()  # type: ignore[no-untyped-call]
        outputs.append(PartOutputs(logits.detach(), losses.map(Tensor.detach), sample_losses, weights))
        begin += len(part.ids)
    return outputs
