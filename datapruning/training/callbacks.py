"""Callbacks: what else happens while a network trains."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.data.loaders.loader import Batch
from datapruning.runs.metrics import EpochRecord
from datapruning.training.state import Checkpointed
from datapruning.utils.time_limit import TimeLimit


class Callback(Checkpointed):
    """Called by the trainer at the points that the methods name. Every method does nothing unless it is overridden."""

    def on_epoch_start(self, epoch: int) -> None:
        """Before the first batch. After a resume an epoch may start again: what was recorded of it then is void."""

    def on_resume(self, epoch: int, ids: NDArray[np.int64]) -> None:
        """In the place of `on_epoch_start`, where training resumes in the middle of an epoch, after `restore`.

        `ids` int64 [n] were trained on before the checkpoint; what was recorded of others in this epoch is void.
        """

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        """After each forward and backward pass; `logits` float32 [n, classes] may be kept only as a copy."""

    def on_step_end(self, epoch: int, model: nn.Module) -> None:
        """After each optimiser step. With EMA the model has the weights that are trained, not the average."""

    def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
        """After the last step of an epoch. With EMA the model has the averaged weights while this runs."""

    def on_epoch_logged(self, history: Sequence[EpochRecord]) -> None:
        """After the epoch's record was added to the history."""

    def should_stop(self, epoch_seconds: float) -> bool:
        """Whether training is to save its state and stop, after an epoch that took so many seconds."""
        return False

    def flush(self) -> None:
        """A checkpoint in the middle of an epoch will be saved: what was recorded goes to the disk."""

    def on_checkpoint(self, epoch: int) -> None:
        """A checkpoint is on disk: a resume starts no earlier than after this epoch, -1 for the beginning.

        After `flush`, it is one in the middle of the epoch that follows.
        """


class StopAtTimeLimit(Callback):
    """Stops a training that has no time for another epoch within the limit of the command."""

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit

    def should_stop(self, epoch_seconds: float) -> bool:
        """Whether another epoch as long as the last would exceed the limit."""
        return self._limit.would_exceed(epoch_seconds)


class LogHistory(Callback):
    """Gives the whole history to a function after each epoch."""

    def __init__(self, write: Callable[[Sequence[EpochRecord]], None]) -> None:
        self._write = write

    def on_epoch_logged(self, history: Sequence[EpochRecord]) -> None:
        """Write the history."""
        self._write(history)
