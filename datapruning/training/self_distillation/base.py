"""What the one loop knows of self-distillation: pictures that come with a batch, a step, a state for checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datapruning.data.augment.views import Views
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.training.losses import Objective

Forward = Callable[[Tensor], Tensor]
"""The network in training mode: images float32 [n, channels, height, width] -> logits float32 [n, classes]."""
Wanted = tuple[NDArray[np.int64], int]
"""Sample ids int64 [n], and the epoch in whose view they are wanted."""


class Companion(NamedTuple):
    """Pictures that come with a batch: `images` float32 [n, channels, height, width] in the view of `epoch`."""

    batch: Batch
    images: Tensor
    epoch: int


class SelfDistillation:
    """One method, in one training; without companions and state unless overridden.

    `companions_train` says what companions go through: a training pass, or a forward pass alone.
    """

    companions_train = False

    def companions(self, batches: Sequence[NDArray[np.int64]], epoch: int) -> list[Wanted | None]:
        """What each batch of an epoch is to come with; called before its first step or, after a resume, for those left."""
        return [None] * len(batches)

    def step(
        self, forward: Forward, objective: Objective, batch: Batch, images: Tensor, companion: Companion | None, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Logits of the batch, float32 [n, classes], and the loss, a scalar that is ready for backward()."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold, at any update."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from there; other parts' tensors lie in it, too."""


def read_companions(wanted: Sequence[Wanted | None], views: Views, loader: Loader) -> Iterator[Companion | None]:
    """The companions that were asked for, in order; several epochs' views may be among them."""
    for epoch, group in groupby(wanted, key=lambda one: None if one is None else one[1]):
        asked = list(group)
        if epoch is None:
            yield from [None] * len(asked)
            continue
        for batch, images in views.read(loader, [one[0] for one in asked if one is not None], epoch):
            yield Companion(batch, images, epoch)
