"""A moving average of a network's weights (EMA): evaluated and saved instead of the last weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from datapruning.training.state import Checkpointed

PREFIX, UPDATES = "ema.", "ema-updates"


class WeightEMA(Checkpointed):
    """average = d * average + (1 - d) * weights after each step, with d = min(decay, (1 + n) / (10 + n)) at step n.

    Small decays at the start forget the initial weights, so that short runs have a useful average (the rule of TensorFlow's
    ExponentialMovingAverage). Running statistics of batch norms are averaged like weights; whole numbers are copied.
    Training itself is not affected.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._weights = model.state_dict()
        self._averages = {name: value.clone() for name, value in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after an optimiser step into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        floats = [name for name, value in self._weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self._averages[name] for name in floats], [self._weights[name] for name in floats], 1 - decay)
        others = [name for name, value in self._weights.items() if not value.is_floating_point()]
        if others:
            torch._foreach_copy_([self._averages[name] for name in others], [self._weights[name] for name in others])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """While open, the network has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Give the network the averaged weights for good, at the end of training."""
        for name, value in self._weights.items():
            value.copy_(self._averages[name])

    @torch.no_grad()
    def _swap(self) -> None:
        weights = {name: value.clone() for name, value in self._weights.items()}  # all at once: two names may share a tensor
        self.copy_to_model()
        self._averages = weights

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the averages, and how many updates they have seen."""
        return {UPDATES: torch.tensor(self.updates), **{PREFIX + name: value for name, value in self._averages.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what a checkpoint holds."""
        self.updates = int(tensors[UPDATES])
        for name, value in self._averages.items():
            value.copy_(tensors[PREFIX + name])
