"""A moving average of a network's weights (EMA): what is evaluated and saved in the place of the last weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

PREFIX, UPDATES = "ema.", "ema-updates"


class MovingAverage:
    """average = d * average + (1 - d) * weights after each update, with d = min(decay, (1 + n) / (10 + n)) at update n.

    Small decays at the start let go of the initial weights, so that short runs have an average, too (the rule of
    TensorFlow's ExponentialMovingAverage). Running statistics of batch norms are averaged like weights; whole numbers are
    copied. The network itself goes on as if there were no average.

    Args:
        model: on its device; weights that are zero by a mask are zero already.
        decay: d in the long run, 0 < d < 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._own = model.state_dict()
        self._average = {name: value.clone() for name, value in self._own.items()}

    @classmethod
    def of(cls, model: nn.Module, decay: float) -> MovingAverage | None:
        """None where the decay is 0."""
        return cls(model, decay) if decay else None

    @torch.no_grad()
    def update(self) -> None:
        """After the optimiser's step."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in self._own.items():
            if value.is_floating_point():
                self._average[name].lerp_(value, 1 - kept)
            else:
                self._average[name].copy_(value)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While open, the network has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def settle(self) -> None:
        """The network takes the averaged weights over: the training is at its end."""
        for name, value in self._own.items():
            value.copy_(self._average[name])

    @torch.no_grad()
    def _swap(self) -> None:
        before = {name: value.clone() for name, value in self._own.items()}  # all at once: two names may share a tensor
        self.settle()
        self._average = before

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the averages, and how many updates they have seen."""
        return {UPDATES: torch.tensor(self.updates), **{PREFIX + name: value for name, value in self._average.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from there."""
        self.updates = int(tensors[UPDATES])
        for name, value in self._average.items():
            value.copy_(tensors[PREFIX + name])
