"""Wide residual networks for small images (Zagoruyko and Komodakis 2016): norm and ReLU before each convolution."""

from torch import Tensor, nn
from torch.nn.functional import relu

from datapruning.models.convnet import GlobalMean
from datapruning.models.resnet import kaiming_init

WIDE_RESNETS = ((16, 2), (28, 10), (40, 2))
"""(depth, width) of those that have a name."""


class WideBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; where the shape changes, the shortcut begins after the first norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if self.changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""
        ready = relu(self.bn1(maps), inplace=False)
        inner: Tensor = self.conv2(relu(self.bn2(self.conv1(ready)), inplace=True))
        passed: Tensor = self.shortcut(ready if self.changes else maps)
        return inner + passed


def wide_resnet(channels: int, classes: int, depth: int, width: int) -> nn.Module:
    """WRN-depth-width without dropout: `depth` = 6n+4 layers, channels 16, then 16, 32 and 64 times `width`."""
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False)]
    inputs = 16
    for stage in range(3):
        outputs = 16 * width * 2**stage
        for number in range((depth - 4) // 6):
            layers.append(WideBlock(inputs, outputs, stride=2 if stage and not number else 1))
            inputs = outputs
    return kaiming_init(
        nn.Sequential(*layers, nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), GlobalMean(), nn.Linear(inputs, classes))
    )
