"""Small convolutional networks that suit a CPU: three 3x3 layers at falling resolution."""

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
    """Images of 8x8 pixels and more; about 95,000 weights."""
    layers = [*block(channels, width), *block(width, 2 * width), *block(2 * width, 4 * width)]
    return nn.Sequential(*layers, GlobalMean(), nn.Linear(4 * width, classes))


def tinynet(channels: int, classes: int, width: int) -> nn.Module:
    """A network that trains in seconds: the first two layers shrink the image to a quarter.

    Widths 8, 16, 32 and 64 (6,000 to 370,000 weights) are teachers of several sizes for a CPU.
    """
    stem = nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False)
    last = nn.Conv2d(2 * width, 4 * width, 3, padding=1, bias=False)
    return nn.Sequential(
        stem, nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        *block(width, 2 * width),
        last, nn.BatchNorm2d(4 * width), nn.ReLU(inplace=True), GlobalMean(), nn.Linear(4 * width, classes),
    )  # fmt: skip
