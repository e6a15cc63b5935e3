"""The messages of process 0 to the others, with networks and views as records to be built again there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.config.training import TrainConfig
from datapruning.data.augment.augmentation import Augmentation
from datapruning.models import create_model, model_spec
from datapruning.models.normalization import InputRenormalization
from datapruning.runs.channel import Arrays, TensorSpec
from datapruning.runs.process_group import OpenSplit
from datapruning.utils.records import Record

SUBSET_IDS = "subset-ids"


class ModelSpec(Record):
    """A network without its weights: the arguments of `create_model`, and whether `InputRenormalization` wraps it."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    renormalized: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> ModelSpec | None:
        """That of a network; None: `create_model` did not make it."""
        renormalized = isinstance(model, InputRenormalization)
        spec = model_spec(model.model if isinstance(model, InputRenormalization) else model)
        if spec is None:
            return None
        name, shape, classes = spec
        return cls(name=name, shape=shape, classes=classes, renormalized=renormalized)

    def build(self, device: torch.device) -> nn.Module:
        """The network, with arbitrary weights."""
        model = create_model(self.name, self.shape, self.classes, seed=0)
        if self.renormalized:
            ones = [1.0] * self.shape[2]
            model = InputRenormalization(model, ones, ones, (ones, ones))
        return model.to(device)


class ViewsSpec(Record):
    """An `Augmentation`; the ids of the subset whose images are mixed are sent separately as an array."""

    policy: AugmentPolicy
    mean: tuple[float, ...]
    std: tuple[float, ...]
    cutmix: CutMixPolicy | None = None
    mixup: MixupPolicy | None = None

    @classmethod
    def of(cls, views: Augmentation) -> tuple[ViewsSpec, dict[str, NDArray[np.int64]]]:
        """That of views, and its arrays."""
        spec, mixing = cls(policy=views.policy, mean=tuple(views.mean), std=tuple(views.std)), views.mixing
        if mixing is None:
            return spec, {}
        return spec.model_copy(update={"cutmix": mixing.cutmix, "mixup": mixing.mixup}), {SUBSET_IDS: mixing.subset_ids}

    def build(self, arrays: Arrays) -> Augmentation:
        """The views."""
        views = Augmentation(self.policy, self.mean, self.std)
        if self.cutmix is None or self.mixup is None:
            return views
        return views.for_subset(arrays[SUBSET_IDS], self.cutmix, self.mixup)


class SharedWork(Record):
    """What trainings and evaluation passes have in common.

    `split` is the position of the split among those that were opened; `tensors` (optimiser state or weights) are broadcast
    after the message.
    """

    split: int
    model: ModelSpec
    views: ViewsSpec
    threads: int
    tensors: dict[str, TensorSpec]


class StartTraining(SharedWork):
    """Message: make a copy of a network to train; the masks, if it has any, are arrays. `seed` is that of dropout."""

    training: TrainConfig
    seed: int
    masked: bool
    trains_on_auxiliary: bool


class TrainEpoch(Record):
    """Message: train for an epoch. Arrays: the ids of all batches, one after the other, and those of auxiliary batches.

    `first_step` is not 0 after a resume. Where a batch has no auxiliary one, its size is 0 and its epoch -1. Images
    are scaled to `image_size` pixels each way; 0: they are not.
    """

    epoch: int
    first_step: int
    sizes: tuple[int, ...]
    learning_rates: tuple[float, ...]
    auxiliary_sizes: tuple[int, ...]
    auxiliary_epochs: tuple[int, ...]
    image_size: int


class Evaluate(SharedWork):
    """Message: compute logits, and `features` too if wanted. Array: the ids of all batches, one after the other."""

    sizes: tuple[int, ...]
    features: bool
    epoch: int | None = None


class EndRun(Record):
    """Message: the run is over."""


MESSAGES = (OpenSplit, StartTraining, TrainEpoch, Evaluate, EndRun)
