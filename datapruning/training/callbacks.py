"""Who looks on while a network trains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.loaders.loader import Batch


class Observer:
    """Looks on while a network trains; records evidence, metrics, whatever. Does nothing unless overridden."""

    def begin_epoch(self, epoch: int) -> None:
        """Before the first batch. After a resume, an epoch may begin again: what it recorded then is void."""

    def go_on(self, epoch: int, ids: NDArray[np.int64]) -> None:
        """In the place of `begin_epoch`, where a resume goes on in the middle of an epoch, after `restore`.

        `ids` int64 were presented before the checkpoint; what was recorded of others in this epoch is void.
        """

    def observe(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """After each forward pass; `logits` float32 [n, classes] may be kept only as a copy."""

    def end_epoch(self, epoch: int, model: nn.Module) -> None:
        """After the last update of an epoch."""

    def flush(self) -> None:
        """A checkpoint in the middle of an epoch will be saved: what was recorded goes to the disk."""

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold; names are its own."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from there; other parts' tensors lie in it, too."""

    def saved(self, epoch: int) -> None:
        """A checkpoint is on disk: a resume begins no earlier than after this epoch, -1 for the beginning.

        After `flush`, it is one in the middle of the epoch that follows.
        """
