"""A training that goes wrong stops at the update that went wrong, and no checkpoint is written of what comes after."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.errors import Diverged

EVERY, ON_CPU = 100, 1
"""Updates from one look to the next: on a GPU, where the host waits for it, and on a CPU."""
SHOWN = 16
Place = tuple[int, int, NDArray[np.int64]]
"""Epoch, update, and its samples' ids."""


class LossWatch:
    """The losses since the last look, with the samples that they are of.

    Args:
        device: on which the losses are.
    """

    def __init__(self, device: torch.device) -> None:
        self._every = ON_CPU if device.type == "cpu" else EVERY
        self._recent: list[tuple[Tensor, Place]] = []
        self._last: Place = (0, 0, np.empty(0, np.int64))

    def note(self, loss: Tensor, epoch: int, step: int, ids: NDArray[np.int64]) -> None:
        """The loss, a scalar, of samples `ids` int64 [n] at a step of the schedule."""
        self._recent.append((loss, (epoch, step, ids)))

    def look(self, *, now: bool = False) -> None:
        """Look at the losses, if there are enough of them or it must be `now`.

        Raises:
            Diverged: naming the first that is no finite number.
        """
        if not self._recent or (len(self._recent) < self._every and not now):
            return
        losses = torch.stack([loss for loss, _ in self._recent]).tolist()
        for value, (_, place) in zip(losses, self._recent, strict=True):
            if not math.isfinite(value):
                raise diverged(f"the training loss became {value}", *place)
        self._last = self._recent[-1][1]
        self._recent.clear()

    def look_at_weights(self, model: nn.Module) -> None:
        """Look at the weights after the last update whose loss was noted.

        Raises:
            Diverged: one is no finite number.
        """
        good = torch.stack([weight.detach().isfinite().all() for weight in model.parameters()])
        if not good.all():
            name = [name for name, _ in model.named_parameters()][int(good.int().argmin())]
            raise diverged(f"weight '{name}' is no finite number any more", *self._last)


def diverged(what: str, epoch: int, step: int, ids: NDArray[np.int64]) -> Diverged:
    """The error, with all ids in it; the message shows the first ones."""
    shown = ", ".join(map(str, ids[:SHOWN])) + (f", and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
    return Diverged(
        f"{what} in epoch {epoch}, at update {step + 1} of the run, with sample ids {shown}: lower the learning rate "
        "(train.lr) or clip the gradient (train.clip_grad_norm)",
        epoch, step, ids,
    )  # fmt: skip
