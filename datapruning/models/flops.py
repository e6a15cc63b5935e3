"""Floating-point operations of networks: two for each multiply-add of convolutions, matrix products and attention."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from datapruning.errors import InvalidValue
from datapruning.models import create_model, meta_model, model_spec
from datapruning.utils.cost import ComputeCost, passes_flops

if TYPE_CHECKING:
    from torch import nn


def layer_flops(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """The operations of each layer that has any, by its name, in a forward pass of one image; "" is the whole network.

    A layer that is used twice counts twice. Other operations (norms, activations, pooling, resizing) are not counted.

    Args:
        model: A network, which is left as it is.
        shape: (height, width, channels) of the image, which is all zeros.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode  # imports Triton where that is installed, which takes long

    height, width, channels = shape
    example = next(model.parameters())
    image = torch.zeros(1, channels, height, width, dtype=example.dtype, device=example.device)
    modes = {module: module.training for module in model.modules()}
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            model.eval()(image)
    finally:
        for module, training in modes.items():
            module.training = training
    root = f"{type(model).__name__}."
    counts = {name: sum(by_operation.values()) for name, by_operation in counter.get_flop_counts().items()}
    layers = {name.removeprefix(root): count for name, count in counts.items() if name.startswith(root)}
    return {**layers, "": counter.get_total_flops()}


@cache
def forward_flops(name: str, shape: tuple[int, int, int], classes: int) -> int:
    """The operations of a forward pass of one image of (height, width, channels) through a network of this name.

    Raises:
        UnknownName, InvalidValue, MissingPackage: see `create_model`.
    """
    model = meta_model(name, shape, classes)
    try:
        return layer_flops(model, shape)[""]
    except (NotImplementedError, RuntimeError):  # a forward pass that needs numbers
        return layer_flops(create_model(name, shape, classes, seed=0), shape)[""]


def network_flops(model: nn.Module, side: int = 0) -> int:
    """The same of a network that `create_model` made, alone or in a wrapper.

    `side`: in pixels, of images that are scaled down before the network sees them; 0: they are not.

    Raises:
        InvalidValue: `create_model` did not make it.
    """
    spec = next((spec for module in model.modules() if (spec := model_spec(module))), None)
    if spec is None:
        raise InvalidValue(f"the operations of a {type(model).__name__} cannot be counted: create_model did not make it")
    name, shape, classes = spec
    return forward_flops(name, (side, side, shape[2]) if side else shape, classes)


def evaluation_cost(model: nn.Module, num_images: int, seconds: float = 0.0) -> ComputeCost:
    """The cost of a forward pass of each of so many images, at the size that `create_model` was given."""
    return ComputeCost(0, num_images, seconds, passes_flops(network_flops(model), evaluated=num_images))
