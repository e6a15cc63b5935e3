"""The other processes: each waits for a message of process 0, does its shard of the work, and waits again."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.factory import open_loader
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.data.registry import open_dataset
from datapruning.errors import IncompatibleInputs
from datapruning.runs.channel import Arrays, Channel, local_device
from datapruning.runs.process_group import OpenSplit
from datapruning.training.distributed.coordinator import local_auxiliary, micro_batch_sizes, parallel
from datapruning.training.distributed.messages import MESSAGES, EndRun, Evaluate, StartTraining, TrainEpoch
from datapruning.training.distributed.sharding import Pass, passes_of, shard_rows
from datapruning.training.inference import ForwardPass, local_outputs
from datapruning.training.optimizers import make_optimizer, restore_state, set_learning_rate
from datapruning.training.reproducibility import StepRNG, autocast, reproducible
from datapruning.training.self_distillation.base import AuxiliaryBatch, read_auxiliary_batches
from datapruning.training.sparsity.masks import MaskEnforcer, Masks
from datapruning.training.step import optimizer_step, resize
from datapruning.utils.device_errors import translate_device_errors
from datapruning.utils.hashing import hash_ids

STREAM_KEY = 0xD15B


class Worker:
    """A process that serves process 0."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.device = torch.device("cpu")
        self.loaders: list[Loader] = []
        self.training: TrainingWorker | None = None

    def serve(self) -> None:
        """Answer messages until the run is over."""
        while True:
            message, arrays = self.channel.receive_message(MESSAGES)
            match message:
                case OpenSplit() as request:
                    self._open(request)
                case StartTraining() as request:
                    loader = self.loaders[request.split]
                    self.training = TrainingWorker(self.channel, self.device, request, arrays, loader)
                case TrainEpoch() as request:
                    assert self.training is not None
                    self.training.train_epoch(request, arrays)
                case Evaluate() as request:
                    self._evaluate(request, arrays)
                case EndRun():
                    return

    def _open(self, request: OpenSplit) -> None:
        split = request.split
        self.device = local_device(request.device)
        self.channel.use_device(self.device, nccl=request.nccl)
        data = open_dataset(split.dataset, root=split.data_root, workspace=split.workspace)
        if data.fingerprint != split.fingerprint:
            raise IncompatibleInputs(
                f"{split.name} is another dataset here than where process 0 runs: the fingerprints differ"
            )
        cache = Path(split.workspace) / "cache"
        self.loaders.append(open_loader(data, split.split, split.loader, self.device, cache))
        self.channel.barrier()

    def _evaluate(self, request: Evaluate, arrays: Arrays) -> None:
        channel, loader = self.channel, self.loaders[request.split]
        model = request.model.build(self.device)
        model.load_state_dict(channel.receive_tensors(request.tensors))
        views = request.views.build(arrays)
        batches = split_ids(arrays["ids"], request.sizes)[channel.rank :: channel.size]
        with reproducible(request.threads), torch.inference_mode():
            forward_pass = ForwardPass(model.eval(), loader, batches, views, request.epoch, request.features)
            for batch, tensors in local_outputs(forward_pass):
                for tensor in (batch.labels, *tensors):
                    channel.send(tensor, 0)


class TrainingWorker:
    """A copy of a network in training: the same weights, and this process's rows of each batch."""

    def __init__(
        self, channel: Channel, device: torch.device, request: StartTraining, arrays: Arrays, loader: Loader
    ) -> None:
        self.channel, self.device, self.loader = channel, device, loader
        self.threads, self.config, self.trains_on_auxiliary = request.threads, request.training, request.trains_on_auxiliary
        self.views = request.views.build(arrays)
        # dropout draws from another stream in each process, each a pure function of the run's seed
        self.seed = int(hash_ids(np.array([channel.rank]), STREAM_KEY, request.seed)[0])
        self.model = request.model.build(device)
        self.optimizer = make_optimizer(self.model, self.config)
        restore_state(self.model, self.optimizer, channel.receive_tensors(request.tensors))
        masks = Masks({name.removeprefix("mask."): mask for name, mask in arrays.items() if name.startswith("mask.")})
        self.weight_masks = MaskEnforcer(masks, self.model) if request.masked else None
        self.image_size = 0
        self.network = parallel(self.model.train(), channel, self.config)

    def train_epoch(self, request: TrainEpoch, arrays: Arrays) -> None:
        """The local shard of the steps of an epoch."""
        config, rank, count = self.config, self.channel.rank, self.channel.size
        self.image_size = request.image_size
        sizes = [micro_batch_sizes(size, config) for size in request.sizes]
        batches = split_ids(arrays["ids"], request.sizes)
        local_ids = [ids[shard_rows(parts, count, rank)] for ids, parts in zip(batches, sizes, strict=True)]
        auxiliary_ids = split_ids(arrays["auxiliary-ids"], request.auxiliary_sizes)
        requests = [
            local_auxiliary((ids, epoch) if len(ids) else None, count, rank)
            for ids, epoch in zip(auxiliary_ids, request.auxiliary_epochs, strict=True)
        ]
        rng = StepRNG(self.device, self.seed, request.epoch, request.first_step + len(batches))
        device_errors = translate_device_errors("training", config.batch_size, config.grad_accum_steps)
        with device_errors, reproducible(self.threads):
            local_batches = self.views.read(self.loader, local_ids, request.epoch)
            auxiliaries = read_auxiliary_batches(requests, self.views, self.loader)
            for number, ((batch, images), auxiliary) in enumerate(zip(local_batches, auxiliaries, strict=True)):
                if not self.channel.await_signal():
                    return
                rng.seed_step(request.first_step + number)
                passes = passes_of(
                    request.sizes[number], config, request.auxiliary_sizes[number] or None,
                    trains_on_auxiliary=self.trains_on_auxiliary,
                )  # fmt: skip
                self.train_step(batch, images, auxiliary, passes, request.learning_rates[number])

    def train_step(
        self, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, passes: list[Pass], learning_rate: float
    ) -> None:
        """The passes of the local rows, and the same optimiser step as in every other process."""
        for tensor in (batch.labels, *(batch.mixed or ())):
            self.channel.send(tensor, 0)
        if auxiliary is not None:
            self.channel.send(auxiliary.batch.labels, 0)
            images = torch.cat([images, auxiliary.images])
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        start, pending = 0, None
        for sizes, needs_grad in passes:
            if needs_grad and pending is not None:
                self._backward(pending)
            end = start + len(shard_rows(sizes, self.channel.size, self.channel.rank))
            with autocast(self.config.precision, self.device), torch.set_grad_enabled(needs_grad):
                logits = self.network(resize(images[start:end], self.image_size)).float()
            self.channel.send(logits, 0)
            start, pending = end, logits if needs_grad else pending
        assert pending is not None
        self._backward(pending)
        optimizer_step(self.model, self.optimizer, self.config, self.weight_masks)

    def _backward(self, logits: Tensor) -> None:
        """The backward pass, from process 0's gradient by these logits."""
        logits.backward(self.channel.receive(0, tuple(logits.shape), logits))  # type: ignore[no-untyped-call]


def split_ids(ids: NDArray[np.int64], sizes: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Split ids int64 [n] into arrays of these sizes."""
    return np.split(ids, np.cumsum(sizes)[:-1]) if sizes else []
