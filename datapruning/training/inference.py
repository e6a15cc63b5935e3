"""Logits and features of a network, computed in this process."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.loader import Batch, Loader
from datapruning.models.features import penultimate


class ForwardPass(NamedTuple):
    """Batches of ids int64 that go through a network in evaluation mode, in the views of an epoch (None: not augmented).

    With `features` the inputs of the last linear layer are wanted, too.
    """

    model: nn.Module
    loader: Loader
    batches: Sequence[NDArray[np.int64]]
    views: Augmentation
    epoch: int | None = None
    features: bool = False


def local_outputs(forward_pass: ForwardPass) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Each batch with its logits float32 [n, classes] and, if wanted, features [n, width]."""
    model, loader, batches, views, epoch, features = forward_pass
    unaugmented = ((batch, views.normalise(batch.images)) for batch in loader.read(batches)) if epoch is None else None
    recording: AbstractContextManager[list[Tensor]] = penultimate(model) if features else nullcontext([])
    with recording as inputs:
        for batch, images in unaugmented or views.read(loader, batches, epoch or 0):
            yield batch, [model(images).float(), *inputs]
