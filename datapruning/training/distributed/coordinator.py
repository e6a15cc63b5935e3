"""Process 0's side of shared work: trainings whose batches are split by rows, evaluation passes split by batches.

The loss of a batch is computed here, from the logits of all its rows, and its gradient by the logits goes back to the
processes that computed them. So losses, dynamic pruning and callbacks see complete batches, as in one process, and the
shards may differ in size. The gradients by the weights are summed by torch's DistributedDataParallel during the backward
pass.
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
from datapruning.data.loaders.loader import Batch, Loader, MixedLabels
from datapruning.runs.channel import Channel, tensor_specs
from datapruning.runs.process_group import SharedLoader
from datapruning.training.distributed.messages import Evaluate, ModelSpec, StartTraining, TrainEpoch, ViewsSpec
from datapruning.training.distributed.sharding import Pass, local_rows, passes_of, shard_rows, shard_weights
from datapruning.training.inference import ForwardPass, local_outputs
from datapruning.training.optimizers import state_tensors
from datapruning.training.reproducibility import compiled
from datapruning.training.self_distillation.base import (
    AuxiliaryBatch,
    AuxiliaryRequest,
    SelfDistillation,
    read_auxiliary_batches,
)
from datapruning.training.sparsity.masks import Masks

NO_IDS = np.empty(0, np.int64)


class SharedTraining:
    """One training of a network; a context manager, after which the other processes are free again.

    The network's weights and the state of the optimiser are sent to the others, which make the same steps. `seed` is that
    of dropout.
    """

    def __init__(
        self,
        loader: Loader,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        views: Augmentation,
        training: TrainConfig,
        self_distillation: SelfDistillation | None,
        masks: Masks | None,
        seed: int,
    ) -> None:
        spec = ModelSpec.of(model)
        assert isinstance(loader, SharedLoader)  # see `shared_training`
        assert spec is not None
        self._loader, self._views, self._training = loader, views, training
        self._trains_on_auxiliary = self_distillation is not None and self_distillation.trains_on_auxiliary
        self._group, self._channel = loader.group, loader.group.channel
        split = loader.open_everywhere()
        views_spec, arrays = ViewsSpec.of(views)
        state = state_tensors(model, optimizer)
        request = StartTraining(
            split=split, model=spec, views=views_spec, threads=torch.get_num_threads(), tensors=tensor_specs(state),
            training=training, seed=seed, masked=masks is not None, trains_on_auxiliary=self._trains_on_auxiliary,
        )  # fmt: skip
        mask_arrays = {f"mask.{name}": mask for name, mask in masks.tensors.items()} if masks else {}
        self._channel.send_message(request, {**arrays, **mask_arrays})
        self._channel.broadcast_tensors(state)
        self._network = parallel(model, self._channel, training)
        self._passes: list[Pass] = []
        self._pending_backward = 0
        self._in_epoch = False

    def __enter__(self) -> SharedTraining:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._passes or self._pending_backward:
            self._group.synchronized = False  # in the middle of a step the others cannot be called back
        elif self._in_epoch:
            self._channel.signal(proceed=False)

    def local_rows(self, size: int) -> int:
        """How many rows of a micro-batch are this process's."""
        return local_rows(size, self._group.size)

    def read(
        self,
        batches: Sequence[NDArray[np.int64]],
        epoch: int,
        first: int,
        rates: Sequence[float],
        requests: Sequence[AuxiliaryRequest | None],
        image_size: int,
    ) -> Iterator[tuple[Batch, Tensor, AuxiliaryBatch | None]]:
        """The steps of an epoch, from number `first` on: each batch, this process's images, and its auxiliary batch.

        The labels (of mixed images those of both) are of the complete batch; the images are not. Each step must be made
        before the next is asked for. `rates` are the learning rates, one a step; `image_size` is what images are scaled to.
        """
        auxiliary_sizes = [0 if request is None else len(request[0]) for request in requests]
        message = TrainEpoch(
            epoch=epoch, first_step=first, sizes=tuple(map(len, batches)), learning_rates=tuple(rates),
            auxiliary_sizes=tuple(auxiliary_sizes), image_size=image_size,
            auxiliary_epochs=tuple(-1 if request is None else request[1] for request in requests),
        )  # fmt: skip
        auxiliary_ids = np.concatenate([NO_IDS, *(request[0] for request in requests if request is not None)])
        self._channel.send_message(message, {"ids": np.concatenate([NO_IDS, *batches]), "auxiliary-ids": auxiliary_ids})
        self._in_epoch = True
        sizes = [micro_batch_sizes(len(ids), self._training) for ids in batches]
        local_ids = [ids[shard_rows(parts, self._group.size, 0)] for ids, parts in zip(batches, sizes, strict=True)]
        local_requests = [local_auxiliary(request, self._group.size, 0) for request in requests]
        local_batches = self._views.read(self._loader.loader, local_ids, epoch)
        local_auxiliaries = read_auxiliary_batches(local_requests, self._views, self._loader.loader)
        for number, ((local, images), auxiliary) in enumerate(zip(local_batches, local_auxiliaries, strict=True)):
            self._channel.signal(proceed=True)
            ids, request = batches[number], requests[number]
            self._passes = passes_of(
                len(ids), self._training, auxiliary_sizes[number] or None, trains_on_auxiliary=self._trains_on_auxiliary
            )
            self._pending_backward = sum(one_pass.needs_grad for one_pass in self._passes)
            batch = self._gather_batch(local, ids, sizes[number])
            if auxiliary is not None and request is not None:
                gathered = self._gather_batch(auxiliary.batch, request[0], [len(request[0])])
                auxiliary = AuxiliaryBatch(gathered, auxiliary.images, auxiliary.epoch)
            yield batch, images, auxiliary
        self._in_epoch = False

    def _gather_batch(self, local: Batch, ids: NDArray[np.int64], sizes: Sequence[int]) -> Batch:
        labels = self._gather(local.labels, sizes)
        mixed = MixedLabels(*(self._gather(column, sizes) for column in local.mixed)) if local.mixed else None
        return Batch(local.images, labels, ids, mixed)

    def network(self, images: Tensor) -> Tensor:
        """Images of local rows of the next pass -> logits float32 of all its rows; the backward pass reaches all rows."""
        sizes = self._passes.pop(0).sizes
        logits: Tensor = _GatherOutputs.apply(self._network(images).float(), self, sizes)
        return logits

    def _gather(self, local: Tensor, sizes: Sequence[int]) -> Tensor:
        """All rows of micro-batches of these sizes; of rows that all processes have, those of process 0."""
        gathered, count = local.new_empty(sum(sizes), *local.shape[1:]), self._group.size
        for process in [*range(1, count), 0]:
            rows = torch.from_numpy(shard_rows(sizes, count, process)).to(local.device, non_blocking=True)
            shape = (len(rows), *local.shape[1:])
            gathered.index_copy_(0, rows, self._channel.receive(process, shape, local) if process else local)
        return gathered

    def _scatter(self, gradient: Tensor, sizes: Sequence[int]) -> Tensor:
        """Send the gradient by the logits to the processes that computed them; returns that of the local rows."""
        count, parts = self._group.size, list[Tensor]()
        for process in range(count):
            rows = torch.from_numpy(shard_rows(sizes, count, process)).to(gradient.device, non_blocking=True)
            weights = torch.from_numpy(shard_weights(sizes, count, process)).to(gradient.device, non_blocking=True)
            parts.append(gradient.index_select(0, rows) * weights[:, None])
        self._pending_backward -= 1
        for process in range(1, count):
            self._channel.send(parts[process], process)
        return parts[0]


class _GatherOutputs(torch.autograd.Function):
    """Forward: from local logits to those of all rows; backward: from the gradient of all rows to that of the local ones."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, training: SharedTraining, sizes: Sequence[int]) -> Tensor:
        ctx.training, ctx.sizes = training, sizes
        return training._gather(local, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        training: SharedTraining = ctx.training
        return training._scatter(gradients[0], ctx.sizes), None, None


def micro_batch_sizes(size: int, training: TrainConfig) -> list[int]:
    """Sizes of the micro-batches of a batch (see `micro_batches`)."""
    return [size] if training.grad_accum_steps == 1 else batch_sizes(size, training.batch_size)


def local_auxiliary(request: AuxiliaryRequest | None, processes: int, process: int) -> AuxiliaryRequest | None:
    """What a process reads of an auxiliary batch."""
    return None if request is None else (request[0][shard_rows([len(request[0])], processes, process)], request[1])


def parallel(model: nn.Module, channel: Channel, training: TrainConfig) -> Any:
    """The network with gradients averaged over all processes; the others get the weights of process 0 first.

    Looking for unused weights permits networks that have some, and keeps torch from rearranging its gradient buckets after
    the first step: with three processes or more the sums could be rounded differently from then on, and a resumed run
    would not have the bits of one that was never stopped.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions of torch rename `broadcast_buffers`
        network = DistributedDataParallel(
            model, process_group=channel.group, broadcast_buffers=False, find_unused_parameters=True
        )
    return compiled(network) if training.compile else network


def shared_outputs(forward_pass: ForwardPass) -> Iterator[tuple[Batch, list[Tensor]]]:
    """As `local_outputs`, shared by batches: process k computes batches k, k + processes, ...

    A batch passes through one network as a whole, so its bits are those of one process. `Batch.images` is empty in batches
    of other processes.
    """
    loader, batches, spec = forward_pass.loader, forward_pass.batches, ModelSpec.of(forward_pass.model)
    assert isinstance(loader, SharedLoader)  # see `shared_pass`
    assert spec is not None
    group, channel = loader.group, loader.group.channel
    split = loader.open_everywhere()
    views_spec, arrays = ViewsSpec.of(forward_pass.views)
    weights = forward_pass.model.state_dict()
    request = Evaluate(
        split=split, model=spec, views=views_spec, threads=torch.get_num_threads(), tensors=tensor_specs(weights),
        sizes=tuple(map(len, batches)), features=forward_pass.features, epoch=forward_pass.epoch,
    )  # fmt: skip
    channel.send_message(request, {**arrays, "ids": np.concatenate(batches)})
    channel.broadcast_tensors(weights)
    group.synchronized = False
    local_batches = local_outputs(forward_pass._replace(loader=loader.loader, batches=batches[:: group.size]))
    labels, outputs = torch.empty(0, dtype=torch.int64), list[Tensor]()
    for number, ids in enumerate(batches):
        process = number % group.size
        if process:
            received = channel.receive(process, (len(ids),), labels)
            outputs = [channel.receive(process, (len(ids), output.shape[1]), output) for output in outputs]
            batch = Batch(torch.empty(0, dtype=torch.uint8), received, ids)
        else:
            batch, outputs = next(local_batches)
            labels = batch.labels
        group.synchronized = number + 1 == len(batches)
        yield batch, outputs
