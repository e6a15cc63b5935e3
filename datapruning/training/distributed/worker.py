"""What every process but the first does: it waits for what process 0 tells it, does its part, and waits again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.loaders.factory import open_loader
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.data.registry import open_dataset
from datapruning.errors import IncompatibleInputs
from datapruning.runs.channel import Channel, Message, local_device
from datapruning.training.distributed.coordinator import local_auxiliary, micro_batch_sizes, parallel
from datapruning.training.distributed.serialization import build_model, build_training, build_views
from datapruning.training.distributed.sharding import Pass, passes_of, shard_rows
from datapruning.training.inference import local_outputs
from datapruning.training.optimizers import make_optimizer, restore_state
from datapruning.training.reproducibility import autocast, reproducible
from datapruning.training.rng import StepRNG
from datapruning.training.self_distillation.base import AuxiliaryBatch, read_auxiliary_batches
from datapruning.training.sparsity.masks import MaskEnforcer, Masks
from datapruning.training.step import optimizer_step
from datapruning.utils.device_errors import translate_device_errors
from datapruning.utils.hashing import hash_ids

STREAM_KEY = 0xD15B


class Worker:
    """A process that lends its hands to process 0."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.device = torch.device("cpu")
        self.loaders: list[Loader] = []
        self.trainee: TrainingWorker | None = None

    def serve(self) -> None:
        """Do what is told until the run is over."""
        while (message := self.channel.receive_message()).op != "end":
            match message.op:
                case "open":
                    self._open(message.about)
                case "train":
                    self.trainee = TrainingWorker(self.channel, self.device, message, self.loaders[message.about["loader"]])
                case "epoch":
                    assert self.trainee is not None
                    self.trainee.epoch(message)
                case "look":
                    self._evaluate(message)

    def _open(self, about: dict[str, Any]) -> None:
        self.device = local_device(about["device"])
        self.channel.use(self.device, about["nccl"])
        data = open_dataset(about["place"], root=about["data_root"], workspace=about["workspace"])
        if data.fingerprint != about["fingerprint"]:
            raise IncompatibleInputs(
                f"{about['name']} is another dataset here than where process 0 runs: the fingerprints differ"
            )
        cache = f"{about['workspace']}/cache"
        self.loaders.append(open_loader(data, about["role"], about["kind"], self.device, Path(cache)))
        self.channel.barrier()

    def _evaluate(self, message: Message) -> None:
        about, channel = message.about, self.channel
        model = build_model(about["model"], self.device)
        model.load_state_dict(channel.receive_tensors(about["weights"]))
        views = build_views(about["views"], message.arrays)
        batches = split_ids(message.arrays["ids"], about["sizes"])[channel.rank :: channel.size]
        loader = self.loaders[about["loader"]]
        with reproducible(about["threads"]), torch.inference_mode():
            for batch, found in local_outputs(
                model.eval(), loader, batches, views, about["epoch"], features=about["features"]
            ):
                for tensor in (batch.labels, *found):
                    channel.send(tensor, 0)


class TrainingWorker:
    """A copy of a network in training: the same weights, and this process's rows of each batch."""

    def __init__(self, channel: Channel, device: torch.device, message: Message, loader: Loader) -> None:
        about = message.about
        self.channel, self.device, self.loader = channel, device, loader
        self.threads: int = about["threads"]
        self.training = build_training(about["training"])
        self.views = build_views(about["views"], message.arrays)
        # dropout: another stream in each process, each a pure function of the run's seed
        self.seed = int(hash_ids(np.array([channel.rank]), STREAM_KEY, about["seed"])[0])
        self.model = build_model(about["model"], device)
        self.optimizer = make_optimizer(self.model, self.training)
        restore_state(self.model, self.optimizer, channel.receive_tensors(about["state"]))
        bits = {name.removeprefix("mask."): b for name, b in message.arrays.items() if name.startswith("mask.")}
        self.trains_on_auxiliary: bool = about["companions_train"]
        self.held = MaskEnforcer(Masks(bits), self.model) if about["masked"] else None
        self.network = parallel(self.model.train(), channel, self.training)

    def epoch(self, message: Message) -> None:
        """Its part of one epoch's updates."""
        about, rank, count = message.about, self.channel.rank, self.channel.size
        parts = [micro_batch_sizes(size, self.training) for size in about["sizes"]]
        batches = split_ids(message.arrays["ids"], about["sizes"])
        own = [ids[shard_rows(part, count, rank)] for ids, part in zip(batches, parts, strict=True)]
        more = split_ids(message.arrays["companions"], about["companions"])
        wanted = [(ids, epoch) if len(ids) else None for ids, epoch in zip(more, about["companion_epochs"], strict=True)]
        rng = StepRNG(self.device, self.seed, about["epoch"], about["first"] + len(batches))
        with (
            translate_device_errors("training", self.training.batch_size, self.training.grad_accum_steps),
            reproducible(self.threads),
        ):
            reading = self.views.read(self.loader, own, about["epoch"])
            also = read_auxiliary_batches([local_auxiliary(one, count, rank) for one in wanted], self.views, self.loader)
            updates = zip(reading, also, about["sizes"], about["companions"], about["rates"], strict=True)
            for number, ((batch, images), auxiliary, size, m, rate) in enumerate(updates, about["first"]):
                if not self.channel.await_signal():
                    return
                rng.seed_step(number)
                passes = passes_of(size, self.training, m or None, self.trains_on_auxiliary)
                self.update(batch, images, auxiliary, passes, rate)

    def update(
        self, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, passes: list[Pass], rate: float
    ) -> None:
        """The passes of its rows, and the same step as in every other process."""
        for tensor in (batch.labels, *(batch.mixed or ())):
            self.channel.send(tensor, 0)
        if auxiliary is not None:
            self.channel.send(auxiliary.batch.labels, 0)
            images = torch.cat([images, auxiliary.images])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        begin, waiting = 0, None
        for sizes, learns in passes:
            if learns and waiting is not None:
                self.backward(waiting)
            end = begin + len(shard_rows(sizes, self.channel.size, self.channel.rank))
            with autocast(self.training.precision, self.device), torch.set_grad_enabled(learns):
                logits = self.network(images[begin:end]).float()
            self.channel.send(logits, 0)
            begin, waiting = end, logits if learns else waiting
        assert waiting is not None
        self.backward(waiting)
        optimizer_step(self.model, self.optimizer, self.training, self.held)

    def backward(self, logits: Tensor) -> None:
        """From process 0's gradient by these logits."""
        logits.backward(self.channel.receive(0, tuple(logits.shape), logits))  # type: ignore[no-untyped-call]


def split_ids(ids: NDArray[np.int64], sizes: list[int]) -> list[NDArray[np.int64]]:
    """One array of ids as arrays of these sizes."""
    return np.split(ids, np.cumsum(sizes)[:-1]) if sizes else []
