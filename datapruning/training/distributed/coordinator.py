"""Process 0's side of common work: trainings whose batches are dealt by rows, evaluation passes dealt by batches.

A batch's loss is made here, of the logits of all its rows, and its gradient by the logits goes back to whoever made them.
So objectives, dynamic pruning and observers see whole batches, as in one process, and parts need not be of one size. The
gradients by the weights are summed by torch's DistributedDataParallel, while the backward pass goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from datapruning.config.training import TrainConfig
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.batching import batch_sizes
from datapruning.data.loaders.loader import Batch, MixedLabels
from datapruning.runs.channel import Channel, tensor_specs
from datapruning.runs.process_group import SharedLoader
from datapruning.training.distributed.serialization import describe_model, describe_views
from datapruning.training.distributed.sharding import Pass, local_rows, passes_of, shard_rows, shard_weights
from datapruning.training.inference import local_outputs
from datapruning.training.optimizers import state_tensors
from datapruning.training.reproducibility import compiled
from datapruning.training.self_distillation.base import AuxiliaryBatch, AuxiliaryRequest, read_auxiliary_batches
from datapruning.training.sparsity.masks import Masks


class SharedTraining:
    """One training of a network; a context manager, after which the others are free again.

    Args:
        loader: of the training split.
        model: as it begins: its weights, and the optimiser's state, are given to the others.
        optimizer: of this process; each other one has its own, which does the same.
        views: what an epoch makes of a sample.
        training: optimiser, batch size, precision.
        masks: which weights are kept.
        seed: of the run, from which random streams (dropout) are drawn.
        trains_on_auxiliary: see `SelfDistillation`; nothing where there is none.
    """

    def __init__(
        self,
        loader: SharedLoader,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        views: Augmentation,
        training: TrainConfig,
        masks: Masks | None,
        seed: int,
        trains_on_auxiliary: bool,
    ) -> None:
        self._loader, self._views, self._training = loader, views, training
        self._trains_on_auxiliary = trains_on_auxiliary
        self._team, self._channel = loader.team, loader.team.channel
        number = loader.opened()
        seen, arrays = describe_views(views)
        state = state_tensors(model, optimizer)
        about = {
            "loader": number, "model": describe_model(model), "views": seen, "training": dict(training), "seed": seed,
            "state": tensor_specs(state), "threads": torch.get_num_threads(), "masked": masks is not None,
            "companions_train": trains_on_auxiliary,
        }  # fmt: skip
        bits = {f"mask.{name}": each for name, each in masks.tensors.items()} if masks else {}
        self._channel.send_message("train", about, {**arrays, **bits})
        self._channel.broadcast_tensors(state)
        self._network = parallel(model, self._channel, training)
        self._passes: list[Pass] = []
        self._backward = 0
        self._inside = False

    def __enter__(self) -> SharedTraining:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._passes or self._backward:
            self._team.synchronized = False  # in the middle of an update the others cannot be called back
        elif self._inside:
            self._channel.signal(go=False)

    def local_rows(self, size: int) -> int:
        """How many rows of a part of an update are this process's."""
        return local_rows(size, self._team.size)

    def read(
        self,
        batches: Sequence[NDArray[np.int64]],
        epoch: int,
        first: int,
        rates: Sequence[float],
        wanted: Sequence[AuxiliaryRequest | None],
    ) -> Iterator[tuple[Batch, Tensor, AuxiliaryBatch | None]]:
        """The updates of an epoch, from number `first` on: each whole batch, this process's images, and its companion.

        Labels (and partners' labels, where pictures are mixed) are those of the whole batch; images are not. Each update
        must be made before the next is asked for. `rates` are the learning rates, one an update.
        """
        together = [0 if one is None else len(one[0]) for one in wanted]
        about = {
            "epoch": epoch, "first": first, "sizes": [len(ids) for ids in batches], "rates": list(rates),
            "companions": together, "companion_epochs": [-1 if one is None else one[1] for one in wanted],
        }  # fmt: skip
        empty = np.empty(0, np.int64)
        theirs = np.concatenate([empty, *(one[0] for one in wanted if one is not None)])
        self._channel.send_message("epoch", about, {"ids": np.concatenate([empty, *batches]), "companions": theirs})
        self._inside = True
        passes = [
            passes_of(len(ids), self._training, size or None, self._trains_on_auxiliary)
            for ids, size in zip(batches, together, strict=True)
        ]
        parts = [micro_batch_sizes(len(ids), self._training) for ids in batches]
        own = [ids[shard_rows(part, self._team.size, 0)] for ids, part in zip(batches, parts, strict=True)]
        own_wanted = [local_auxiliary(one, self._team.size, 0) for one in wanted]
        reading = self._views.read(self._loader.loader, own, epoch)
        reading_more = read_auxiliary_batches(own_wanted, self._views, self._loader.loader)
        for number, ((mine, images), more) in enumerate(zip(reading, reading_more, strict=True)):
            self._channel.signal(go=True)
            self._passes = list(passes[number])
            self._backward = sum(one.needs_grad for one in self._passes)
            batch, asked = self._gather_batch(mine, batches[number], parts[number]), wanted[number]
            if more is not None and asked is not None:
                more = AuxiliaryBatch(self._gather_batch(more.batch, asked[0], [len(asked[0])]), more.images, more.epoch)
            yield batch, images, more
        self._inside = False

    def _gather_batch(self, mine: Batch, ids: NDArray[np.int64], sizes: Sequence[int]) -> Batch:
        labels = self._gather(mine.labels, sizes)
        mixed = MixedLabels(*(self._gather(each, sizes) for each in mine.mixed)) if mine.mixed else None
        return Batch(mine.images, labels, ids, mixed)

    def network(self, images: Tensor) -> Tensor:
        """Images of own rows of the next pass -> logits float32 of all its rows; the backward pass goes through all."""
        sizes = self._passes.pop(0).sizes
        logits: Tensor = _GatherOutputs.apply(self._network(images).float(), self, sizes)
        return logits

    def _gather(self, own: Tensor, sizes: Sequence[int]) -> Tensor:
        """All rows of pieces of these sizes, from every process; where all have the same rows, one's own."""
        whole, count = own.new_empty(sum(sizes), *own.shape[1:]), self._team.size
        for process in [*range(1, count), 0]:
            rows = torch.from_numpy(shard_rows(sizes, count, process)).to(own.device, non_blocking=True)
            shape = (len(rows), *own.shape[1:])
            whole.index_copy_(0, rows, self._channel.receive(process, shape, own) if process else own)
        return whole

    def _scatter(self, gradient: Tensor, sizes: Sequence[int]) -> Tensor:
        """Hand the gradient by the logits to whoever made them; returns that of this process's own rows."""
        count, parts = self._team.size, list[Tensor]()
        for process in range(count):
            rows = torch.from_numpy(shard_rows(sizes, count, process)).to(gradient.device, non_blocking=True)
            weights = torch.from_numpy(shard_weights(sizes, count, process)).to(gradient.device, non_blocking=True)
            parts.append(gradient.index_select(0, rows) * weights[:, None])
        self._backward -= 1
        for process in range(1, count):
            self._channel.send(parts[process], process)
        return parts[0]


class _GatherOutputs(torch.autograd.Function):
    """Own logits in, everybody's out; and the other way round for gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, shared: SharedTraining, sizes: Sequence[int]) -> Tensor:
        ctx.shared, ctx.sizes = shared, sizes
        return shared._gather(own, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.shared._scatter(gradients[0], ctx.sizes), None, None


def micro_batch_sizes(size: int, training: TrainConfig) -> list[int]:
    """Sizes of the parts that the batch of an update goes through the network in (see `micro_batches`)."""
    return [size] if training.grad_accum_steps == 1 else batch_sizes(size, training.batch_size)


def local_auxiliary(wanted: AuxiliaryRequest | None, processes: int, process: int) -> AuxiliaryRequest | None:
    """What a process reads of the pictures that come with a batch."""
    return None if wanted is None else (wanted[0][shard_rows([len(wanted[0])], processes, process)], wanted[1])


def parallel(model: nn.Module, channel: Channel, training: TrainConfig) -> Any:
    """The network with gradients that are averaged over all processes; everybody gets process 0's weights first.

    Looking for unused weights lets networks have some, and keeps torch from dealing the gradients out anew after the first
    update: with three processes or more their sums could be rounded otherwise from then on, and a run that goes on from a
    checkpoint would not have the bits of one that was never stopped.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions of torch call `broadcast_buffers` otherwise
        network = DistributedDataParallel(
            model, process_group=channel.group, broadcast_buffers=False, find_unused_parameters=True
        )
    return compiled(network) if training.compile else network


def shared_outputs(
    model: nn.Module,
    loader: SharedLoader,
    batches: Sequence[NDArray[np.int64]],
    views: Augmentation,
    epoch: int | None,
    *,
    features: bool,
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """What `local_outputs` gives, the work dealt by batches: process k has batches k, k + processes, ...

    Each goes through one network whole, so its bits are those of one process. `Batch.images` are there in those of process
    0 alone.
    """
    team, channel = loader.team, loader.team.channel
    number = loader.opened()
    seen, arrays = describe_views(views)
    weights = model.state_dict()
    about = {
        "loader": number, "model": describe_model(model), "views": seen, "epoch": epoch, "features": features,
        "sizes": [len(ids) for ids in batches], "weights": tensor_specs(weights), "threads": torch.get_num_threads(),
    }  # fmt: skip
    channel.send_message("look", about, {**arrays, "ids": np.concatenate(batches)})
    channel.broadcast_tensors(weights)
    team.synchronized, count = False, team.size
    mine = local_outputs(model, loader.loader, batches[::count], views, epoch, features=features)
    labels, found = torch.empty(0, dtype=torch.int64), list[Tensor]()
    for place, ids in enumerate(batches):
        source = place % count
        if source:
            theirs = channel.receive(source, (len(ids),), labels)
            found = [channel.receive(source, (len(ids), each.shape[1]), each) for each in found]
            batch = Batch(torch.empty(0, dtype=torch.uint8), theirs, ids)
        else:
            batch, found = next(mine)
            labels = batch.labels
        team.synchronized = place + 1 == len(batches)
        yield batch, found
