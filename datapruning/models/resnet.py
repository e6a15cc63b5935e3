"""Residual networks for small images: the CIFAR ResNets of He et al. 2016 (depth 6n+2); ResNet-18 to -50 with a 3x3 stem."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import relu

from datapruning.models.convnet import GlobalMean

WIDTHS, CIFAR_WIDTHS = (64, 128, 256, 512), (16, 32, 64)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 projection where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; a 1x1 projection where the shape changes (as in RepDistiller's ladder)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""
        inner = relu(self.bn1(self.conv1(maps)), inplace=True)
        return relu(self.bn2(self.conv2(inner)) + self.shortcut(maps), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times the width, and a shortcut (torchvision's "v1.5")."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, 4 * width, h/stride, w/stride]."""
        inner = relu(self.bn1(self.conv1(maps)), inplace=True)
        inner = relu(self.bn2(self.conv2(inner)), inplace=True)
        return relu(self.bn3(self.conv3(inner)) + self.shortcut(maps), inplace=True)


def residual(
    channels: int,
    classes: int,
    widths: Sequence[int],
    depths: Sequence[int],
    stem: int = 1,
    block: type[BasicBlock | Bottleneck] = BasicBlock,
) -> nn.Module:
    """A 3x3 stem of stride `stem`, then one stage a width with its number of blocks; all but the first halve the image."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, stem, 1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
    ]
    inputs = widths[0]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for number in range(depth):
            layers.append(block(inputs, width, stride=2 if stage and not number else 1))
            inputs = width if block is BasicBlock else 4 * width
    return kaiming_init(nn.Sequential(*layers, GlobalMean(), nn.Linear(inputs, classes)))


def kaiming_init(model: nn.Module) -> nn.Module:
    """Convolutions from the normal distribution of He et al. 2015, by their outputs. Returns the model."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


RESNETS = {
    "resnet18": partial(residual, widths=WIDTHS, depths=(2, 2, 2, 2)),
    "resnet34": partial(residual, widths=WIDTHS, depths=(3, 4, 6, 3)),
    "resnet50": partial(residual, widths=WIDTHS, depths=(3, 4, 6, 3), block=Bottleneck),
    "tinyresnet": partial(residual, widths=CIFAR_WIDTHS, depths=(1, 1, 1), stem=2),
    **{
        f"resnet{depth}": partial(residual, widths=CIFAR_WIDTHS, depths=[(depth - 2) // 6] * 3)
        for depth in (8, 20, 32, 44, 56, 110)
    },
}
"""By name; "tinyresnet" is ResNet-8 at a quarter of its work, for trials on a CPU. None has a max-pool after its stem."""
