"""Networks that were trained on pictures normalised with other numbers than a dataset's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Stats = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of the channels, 0..255."""


class InputRenormalization(nn.Module):
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


def with_training_normalization(model: nn.Module, trained_with: Stats | None, stats: Stats) -> nn.Module:
    """The network, for images normalised with `stats`.

    Args:
        model: the network.
        trained_with: mean and standard deviation of the channels, 0..1, that it was trained with; None: the dataset's own.
        stats: of the images that come, 0..255.
    """
    if trained_with is None:
        return model
    mean, std = ([255 * number for number in numbers] for numbers in trained_with)
    return InputRenormalization(model, mean, std, stats).to(next(model.parameters()).device)
