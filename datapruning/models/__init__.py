"""Network factories by name: `create_model("convnet", shape=(28, 28, 1), classes=10, seed=0)`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from datapruning.errors import UnknownName
from datapruning.models.convnet import convnet, tinynet
from datapruning.models.resnet import cifar_resnet, resnet18, tinyresnet

Factory = Callable[[int, int], nn.Module]
"""(input channels, classes) -> a freshly initialised network that takes float32 [n, channels, height, width]."""

MODELS: dict[str, Factory] = {
    "convnet": convnet,
    **{f"tinynet{width}": tinynet(width) for width in (8, 16, 32, 64)},
    "resnet18": resnet18,
    "tinyresnet": tinyresnet,
    **{f"resnet{depth}": cifar_resnet(depth) for depth in (8, 20, 32, 44, 56, 110)},
}


def create_model(name: str, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A network with an initialisation that depends on `seed` alone, in training mode, channels last.

    Args:
        name: one of `MODELS`.
        shape: (height, width, channels) of the images.
        classes: number of outputs.
        seed: of the initialisation; torch's own random state stays untouched.

    Raises:
        UnknownName: no such model.
    """
    check_model(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = MODELS[name](shape[2], classes)
    return model.to(memory_format=torch.channels_last)


def check_model(name: str) -> None:
    """Refuse a name that is no model's, before anything is trained.

    Raises:
        UnknownName: no such model; the nearest is named.
    """
    if name not in MODELS:
        raise UnknownName("model", name, MODELS)


def parameter_count(model: nn.Module) -> int:
    """Trainable numbers in `model`."""
    return sum(math.prod(p.shape) for p in model.parameters() if p.requires_grad)
