"""Networks that were trained on pictures normalised with other numbers than a dataset's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Stats = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of the channels, 0..255."""


class Renormalised(nn.Module):
    """A network for pictures that were normalised with other numbers: theirs are turned into its own.

    Args:
        model: the network.
        mean: of the channels, as its pictures were normalised, 0..255.
        std: likewise.
        given: (mean, std) of the pictures that come, 0..255.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        given: Stats,
    ) -> None:
        super().__init__()
        self.model = model
        own_mean, own_std, mean_given, std_given = (torch.tensor(v, dtype=torch.float64) for v in (mean, std, *given))
        self.register_buffer("factor", (std_given / own_std).float()[:, None, None])
        self.register_buffer("offset", ((mean_given - own_mean) / own_std).float()[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images float32 [n, channels, height, width] -> what the network gives."""
        logits: Tensor = self.model(images * self.get_buffer("factor") + self.get_buffer("offset"))
        return logits


def as_trained(model: nn.Module, result: Mapping[str, Any], stats: Stats) -> nn.Module:
    """The network, for pictures normalised with `stats`, (mean, std) of the channels in 0..255.

    Where its result says that it was trained with other numbers ("input": mean and std in 0..1), those are accounted for.
    """
    said = result.get("input")
    if not said:
        return model
    mean, std = ([255 * number for number in said[key]] for key in ("mean", "std"))
    return Renormalised(model, mean, std, stats).to(next(model.parameters()).device)
