"""A small convolutional network that suits a CPU: three 3x3 layers at falling resolution, about 95,000 weights."""

from __future__ import annotations

from torch import Tensor, nn


class GlobalMean(nn.Module):
    """Mean over height and width: deterministic in its backward pass on a GPU, unlike adaptive pooling."""

    def forward(self, maps: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c]."""
        return maps.mean((2, 3))


def block(inputs: int, outputs: int) -> list[nn.Module]:
    """3x3 convolution, 2x2 maximum, batch norm, ReLU. Pooling first leaves a quarter of the values to normalise."""
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def convnet(channels: int, classes: int, width: int = 32) -> nn.Module:
    """Images of 8x8 pixels and more."""
    layers = [*block(channels, width), *block(width, 2 * width), *block(2 * width, 4 * width)]
    return nn.Sequential(*layers, GlobalMean(), nn.Linear(4 * width, classes))
