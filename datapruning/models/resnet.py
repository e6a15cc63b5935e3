"""Residual networks for small images: the CIFAR ResNets of He et al. 2016 (depth 6n+2) and ResNet-18 with a 3x3 stem."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

from datapruning.models.convnet import GlobalMean


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; a 1x1 projection where the shape changes (as in RepDistiller's ladder)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h/stride, w/stride]."""
        inner = relu(self.bn1(self.conv1(maps)), inplace=True)
        return relu(self.bn2(self.conv2(inner)) + self.shortcut(maps), inplace=True)


def residual(channels: int, classes: int, widths: list[int], depth: int, stem: int = 1) -> nn.Module:
    """A 3x3 stem of stride `stem`, then one stage a width with `depth` blocks; all but the first halve the picture."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, stem, 1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
    ]
    inputs = widths[0]
    for stage, width in enumerate(widths):
        for number in range(depth):
            layers.append(BasicBlock(inputs, width, stride=2 if stage and not number else 1))
            inputs = width
    model = nn.Sequential(*layers, GlobalMean(), nn.Linear(inputs, classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def cifar_resnet(depth: int) -> Callable[[int, int], nn.Module]:
    """ResNet of `depth` = 6n+2 layers and widths 16, 32, 64."""
    return lambda channels, classes: residual(channels, classes, [16, 32, 64], (depth - 2) // 6)


def tinyresnet(channels: int, classes: int) -> nn.Module:
    """ResNet-8 with a stem of stride 2: a quarter of its work, for trials on a CPU; 78 k weights."""
    return residual(channels, classes, [16, 32, 64], 1, stem=2)


def resnet18(channels: int, classes: int) -> nn.Module:
    """ResNet-18 with the CIFAR stem: 3x3, stride 1, no max-pool; 11.2 M weights at 100 classes."""
    return residual(channels, classes, [64, 128, 256, 512], 2)
