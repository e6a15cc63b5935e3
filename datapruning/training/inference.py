"""Logits and features of a network in this process; knows of no other process."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.models.features import penultimate


def local_outputs(
    model: nn.Module,
    loader: Loader,
    batches: Sequence[NDArray[np.int64]],
    views: Augmentation,
    epoch: int | None,
    *,
    features: bool,
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Each batch with its logits float32 [n, classes] and, with `features`, what the last linear layer saw [n, width]."""
    plain = ((batch, views.normalise(batch.images)) for batch in loader.read(batches)) if epoch is None else None
    listening: AbstractContextManager[list[Tensor]] = penultimate(model) if features else nullcontext([])
    with listening as held:
        for batch, images in plain or views.read(loader, batches, epoch or 0):
            yield batch, [model(images).float(), *held]
