"""A training that diverges stops at the step that diverged, and no checkpoint of what comes after is written."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.errors import Diverged
from datapruning.utils.download import HostCopies

CHECK_EVERY, CHECK_EVERY_ON_CPU = 100, 1
"""Steps from one check to the next: on a GPU, where losses are sent to the host, and on a CPU."""
MAX_SHOWN_IDS = 16


class UpdateLocation(NamedTuple):
    """Which update a loss is of: epoch, position in the schedule, sample ids int64 [n]."""

    epoch: int
    step: int
    ids: NDArray[np.int64]


class NonFiniteGuard:
    """Holds the losses since the last check, which are on `device`, with the samples that they are of.

    On a GPU a check reads the losses that the check before sent to the host, so that the host does not wait for them.
    """

    def __init__(self, device: torch.device) -> None:
        self._interval = CHECK_EVERY_ON_CPU if device.type == "cpu" else CHECK_EVERY
        self._waits = device.type == "cpu"
        self._recent: list[tuple[Tensor, UpdateLocation]] = []
        self._sent: tuple[HostCopies, list[UpdateLocation]] | None = None
        self._last = UpdateLocation(0, 0, np.empty(0, np.int64))

    def record(self, loss: Tensor, location: UpdateLocation) -> None:
        """Keep the loss, a scalar, of an update."""
        self._recent.append((loss.detach(), location))

    def check(self, *, now: bool = False) -> None:
        """Check the losses, if there are enough of them or it must be `now`.

        Raises:
            Diverged: naming the first update whose loss is not a finite number.
        """
        if len(self._recent) < self._interval and not now:
            return
        self._read()
        if self._recent:
            losses = HostCopies({"losses": torch.stack([loss for loss, _ in self._recent])})
            self._sent = losses, [location for _, location in self._recent]
            self._recent.clear()
        if now or self._waits:
            self._read()

    def _read(self) -> None:
        if self._sent is None:
            return
        losses, locations = self._sent
        self._sent = None
        for value, location in zip(losses.get()["losses"].tolist(), locations, strict=True):
            if not math.isfinite(value):
                raise diverged(f"the training loss became {value}", location)
        self._last = locations[-1]

    def check_all(self, model: nn.Module) -> None:
        """Check all losses, and the weights after the last update.

        Raises:
            Diverged: naming the first update, or the first weight, that has a value which is not a finite number.
        """
        self.check(now=True)
        finite = torch.stack([weight.detach().isfinite().all() for weight in model.parameters()])
        if not finite.all():
            name = [name for name, _ in model.named_parameters()][int(finite.int().argmin())]
            raise diverged(f"weight '{name}' is no finite number any more", self._last)


def diverged(problem: str, location: UpdateLocation) -> Diverged:
    """The error, which carries all sample ids; its message shows the first ones."""
    epoch, step, ids = location
    shown = ", ".join(map(str, ids[:MAX_SHOWN_IDS]))
    if len(ids) > MAX_SHOWN_IDS:
        shown += f", and {len(ids) - MAX_SHOWN_IDS} more"
    return Diverged(
        f"{problem} in epoch {epoch}, at update {step + 1} of the run, with sample ids {shown}: lower the learning rate "
        "(train.lr) or clip the gradient (train.clip_grad_norm)",
        epoch, step, ids,
    )  # fmt: skip
