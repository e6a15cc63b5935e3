"""The factories of the networks that come with the package, by the names of `datapruning.models.MODELS`."""

from collections.abc import Callable
from functools import partial

from torch import nn

from datapruning.models.convnet import convnet, tinynet
from datapruning.models.fastnet import fastnet
from datapruning.models.resnet import RESNETS
from datapruning.models.vgg import vgg16_bn
from datapruning.models.wide_resnet import WIDE_RESNETS, wide_resnet

Factory = Callable[[int, int], nn.Module]
"""(input channels, classes) -> a freshly initialised network that takes float32 [n, channels, height, width]."""

FACTORIES: dict[str, Factory] = {
    "convnet": convnet,
    **{f"tinynet{width}": partial(tinynet, width=width) for width in (8, 16, 32, 64)},
    **{f"fastnet{width}": partial(fastnet, width=width) for width in (16, 32, 64, 128)},
    **{f"fastnet{width}-random-init": partial(fastnet, width=width, identity=False) for width in (16, 32, 64, 128)},
    **RESNETS,
    **{f"wrn-{depth}-{width}": partial(wide_resnet, depth=depth, width=width) for depth, width in WIDE_RESNETS},
    "vgg16-bn": vgg16_bn,
}
