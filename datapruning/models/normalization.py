"""Networks that were trained on images normalised with other statistics than the dataset's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Stats = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of the channels, 0..255."""


class InputRenormalization(nn.Module):
    """Renormalises images before a network that was trained with other statistics.

    `mean` and `std` of the channels, 0..255, are those that it was trained with; `given`: those of its inputs.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float], given: Stats) -> None:
        super().__init__()
        self.model = model
        model_mean, model_std, input_mean, input_std = (torch.tensor(v, dtype=torch.float64) for v in (mean, std, *given))
        self.register_buffer("factor", (input_std / model_std).float()[:, None, None])
        self.register_buffer("offset", ((input_mean - model_mean) / model_std).float()[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images float32 [n, channels, height, width] -> the network's output."""
        logits: Tensor = self.model(images * self.get_buffer("factor") + self.get_buffer("offset"))
        return logits


def with_training_normalization(model: nn.Module, trained_with: Stats | None, stats: Stats) -> nn.Module:
    """The network, for images normalised with `stats` (mean and standard deviation of the channels, 0..255).

    `trained_with`: those that it was trained with, 0..1; None: the dataset's own.
    """
    if trained_with is None:
        return model
    mean, std = ([255 * number for number in numbers] for numbers in trained_with)
    return InputRenormalization(model, mean, std, stats).to(next(model.parameters()).device)
