"""What the trainer knows of self-distillation: auxiliary batches, a step, a state for checkpoints."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.training.losses import Loss, LossTerms, SoftLabels
from datapruning.training.state import Checkpointed

Forward = Callable[[Tensor], Tensor]
"""The network in training mode: images float32 [n, channels, height, width] -> logits float32 [n, classes]."""
AuxiliaryRequest = tuple[NDArray[np.int64], int]
"""Sample ids int64 [n], and the epoch in whose view they are wanted."""


class AuxiliaryBatch(NamedTuple):
    """Further samples that come with a batch: `images` float32 [n, channels, height, width] in the view of `epoch`.

    `logits` float32 [n, classes] are what the method pulls the new predictions for them to, where it keeps such.
    """

    batch: Batch
    images: Tensor
    epoch: int
    logits: Tensor | None = None


class SelfDistillation(Checkpointed):
    """One method, in one training; without auxiliary batches and state unless overridden.

    `step` computes, and may be captured in a CUDA graph, which repeats its operations on a GPU, but nothing that Python
    does: what a step keeps for a later one goes through `before_step` and `after_step`.

    Attributes:
        trains_on_auxiliary: what auxiliary batches go through: a training pass, or a forward pass alone.
        self_teacher: soft labels that each batch has to come with, as its `self_teacher_logits`.
    """

    trains_on_auxiliary = False
    self_teacher: SoftLabels | None = None

    def auxiliary_batches(self, batches: Sequence[NDArray[np.int64]], epoch: int) -> list[AuxiliaryRequest | None]:
        """What each batch of an epoch is to come with; called before its first step or, after a resume, for those left."""
        return [None] * len(batches)

    def begin_epoch(self, epoch: int, device: torch.device) -> None:
        """Before the first step of an epoch, or the first one after a resume."""

    def before_step(self, auxiliary: AuxiliaryBatch | None) -> AuxiliaryBatch | None:
        """What `step` gets in the place of an auxiliary batch."""
        return auxiliary

    def after_step(self, batch: Batch, logits: Tensor, epoch: int) -> None:
        """After each step, with the logits float32 [n, classes] of the batch, which the step after the next overwrites."""

    def variant(self, epoch: int) -> Hashable:
        """What decides which operations `step` is made of in this epoch, other than the shapes of its batches."""
        return None

    def end_epoch(self, ids: NDArray[np.int64]) -> None:
        """After an epoch in which this process trained on samples `ids` int64, in the order of their batches."""

    def step(
        self, forward: Forward, loss: Loss, batch: Batch, images: Tensor, auxiliary: AuxiliaryBatch | None, epoch: int
    ) -> tuple[Tensor, LossTerms]:
        """Logits of the batch, float32 [n, classes], and the loss, scalars whose `total` is ready for backward()."""
        raise NotImplementedError


def read_auxiliary_batches(
    requests: Sequence[AuxiliaryRequest | None], views: Augmentation, loader: Loader
) -> Iterator[AuxiliaryBatch | None]:
    """Yield the requested auxiliary batches in order; they may use views of several epochs."""
    for epoch, group in groupby(requests, key=lambda request: None if request is None else request[1]):
        same_epoch = list(group)
        if epoch is None:
            yield from [None] * len(same_epoch)
            continue
        for batch, images in views.read(loader, [request[0] for request in same_epoch if request is not None], epoch):
            yield AuxiliaryBatch(batch, images, epoch)
