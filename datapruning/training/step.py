"""Pieces of an epoch: its plan, the micro-batches of its steps, and its running sums."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from datapruning.config.training import TrainConfig
from datapruning.data.loaders.loader import Batch
from datapruning.training.distributed.collectives import all_reduce
from datapruning.training.distributed.sharding import micro_batch_shards
from datapruning.training.losses import Loss, LossTerms
from datapruning.training.self_distillation.base import AuxiliaryBatch, Forward, SelfDistillation
from datapruning.training.sparsity.masks import MaskEnforcer
from datapruning.training.state import PartialEpoch
from datapruning.utils.processes import num_processes

LOSSES, CORRECT, COUNTS = "epoch.losses", "epoch.correct", "epoch.counts"
COUNTED = ("weight", "samples", "auxiliary_samples", "auxiliary_forward")
"""The fields of `PartialEpoch` that each process has its own of."""


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


@dataclass(frozen=True)
class EpochPlan:
    """What an epoch trains on: for each optimiser step the sample ids int64, its position in the schedule, and its rate.

    `batches` are those of all processes together, `local_batches` what this one trains on.

    It covers `num_planned_steps` of the schedule, which have `num_planned_samples`: more than its own where `pruned`, when
    dynamic pruning left samples out. Images are scaled to `image_size` pixels each way; 0: they are not.
    """

    batches: list[NDArray[np.int64]]
    local_batches: list[NDArray[np.int64]]
    schedule_steps: list[int]
    learning_rates: list[float]
    num_planned_steps: int
    num_planned_samples: int
    pruned: bool
    image_size: int


class EpochStats:
    """Running sums over the samples of one epoch, on the device, so that nothing waits; `weighted` under dynamic pruning."""

    def __init__(self, device: torch.device, *, weighted: bool) -> None:
        self._losses: dict[str, Tensor] = {}
        self._correct = torch.zeros((), dtype=torch.float32 if weighted else torch.int64, device=device)
        self.counts = PartialEpoch()

    def record(
        self, batch: Batch, logits: Tensor, terms: LossTerms, weights: Tensor | None = None, weight_sum: float = 0.0
    ) -> None:
        """Add a micro-batch: logits float32 [n, classes], scalar losses; under dynamic pruning weights float32 [n]."""
        size = len(batch.ids)
        for name, term in terms._asdict().items():
            if term is not None:
                value = term.detach() * size
                self._losses[name] = self._losses[name] + value if name in self._losses else value
        correct = logits.argmax(1) == batch.labels
        if weights is None:
            self._correct += correct.sum()
            self.counts.weight += size
        else:
            self._correct += (weights * correct).sum()
            self.counts.weight += weight_sum
        self.counts.samples += size

    def count_auxiliary(self, auxiliary: AuxiliaryBatch | None, *, trained: bool) -> None:
        """Count the samples of an auxiliary batch."""
        if auxiliary is not None and trained:
            self.counts.auxiliary_samples += len(auxiliary.batch.ids)
        elif auxiliary is not None:
            self.counts.auxiliary_forward += len(auxiliary.batch.ids)

    def mean_losses(self) -> dict[str, float]:
        """The mean of each loss term over the samples, by its name in `LossTerms`."""
        return {name: float(value) / self.counts.weight for name, value in self._losses.items()}

    def accuracy(self) -> float:
        """Share of the samples whose label had the largest logit, in percent."""
        return float(100 * self._correct.item() / self.counts.weight)

    def sum_over_processes(self) -> None:
        """Take the sums of all processes in the place of those of this one."""
        sums = [self._correct, *self._losses.values()]
        summed = all_reduce(torch.cat([self._counted(), torch.stack([value.double() for value in sums]).cpu()]))
        for name, value in zip(COUNTED, summed.tolist(), strict=False):
            setattr(self.counts, name, value if name == "weight" else int(value))
        self._correct, *losses = summed[len(COUNTED) :]
        self._losses = dict(zip(self._losses, losses, strict=True))

    def _counted(self) -> Tensor:
        return torch.tensor([float(getattr(self.counts, name)) for name in COUNTED], dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        """The sums that are on the device."""
        counts = {COUNTS: self._counted()} if num_processes() > 1 else {}
        return {CORRECT: self._correct, **{f"{LOSSES}.{name}": value for name, value in self._losses.items()}, **counts}

    def restore(self, partial: PartialEpoch, tensors: Mapping[str, Tensor]) -> None:
        """Continue in the middle of an epoch."""
        self.counts = partial
        if COUNTS in tensors:  # of another process than the one that saved
            counts = dict(zip(COUNTED, tensors[COUNTS].tolist(), strict=True))
            self.counts = partial.model_copy(update={name: type(getattr(partial, name))(counts[name]) for name in COUNTED})
        self._correct.copy_(tensors[CORRECT])
        for name in LossTerms._fields:
            if (value := tensors.get(f"{LOSSES}.{name}")) is not None:
                self._losses[name] = value.to(self._correct.device)
