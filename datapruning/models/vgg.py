"""VGG with batch norm for small images (Simonyan and Zisserman 2015): the convolutions of VGG-16 and one linear layer."""

from torch import nn

from datapruning.models.convnet import GlobalMean
from datapruning.models.resnet import kaiming_init

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""(channels, convolutions) between two poolings."""


def vgg16_bn(channels: int, classes: int) -> nn.Module:
    """13 convolutions of 3x3 and one linear layer, 14.7 M weights; any image size (odd sizes are rounded up)."""
    layers: list[nn.Module] = []
    inputs = channels
    for outputs, count in STAGES:
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return kaiming_init(nn.Sequential(*layers, GlobalMean(), nn.Linear(inputs, classes)))
