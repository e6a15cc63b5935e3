"""Whether anything of the images still reaches the output of a pruned network."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable_layers

NUM_PROBES = 2


def find_cut_layer(model: nn.Module, masks: Mapping[str, Tensor] | Masks, shape: tuple[int, int, int]) -> str | None:
    """The weight of the layer at which a network with masks loses its input; None: its output still depends on it.

    Structure alone is asked for: of a copy all weights are made positive, biases and running means 0, so that no ReLU stops
    a signal, and random images must give different outputs. The layer is the one after the last that the images reach.

    Args:
        model: the network, which stays as it is.
        masks: where a weight is kept, by the weight's name.
        shape: (height, width, channels) of its images.
    """
    height, width, channels = shape
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((NUM_PROBES, channels, height, width), generator=generator, dtype=torch.float64)
    network = _positive_copy(model)
    kept = masks.tensors if isinstance(masks, Masks) else masks
    layers = dict(prunable_layers(network))
    for name, layer in layers.items():
        weight = layer.get_parameter("weight")
        weight.data.mul_(torch.as_tensor(kept[name]).to(weight.dtype))
    reached: list[tuple[str, bool]] = []
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, inputs, output, name=name: reached.append((name, _differs(output))))
    if _differs(_forward(network, images)):
        return None
    if not _differs(_forward(_positive_copy(model), images)):  # with all weights, too: it cannot be seen in this way
        return None
    last = max((number for number, (_, differs) in enumerate(reached) if differs), default=-1)
    return reached[min(last + 1, len(reached) - 1)][0]


@torch.no_grad()
def _positive_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the CPU, in float64, whose weights are positive and whose biases and means are 0."""
    network = copy.deepcopy(model).cpu().double().eval()
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.zeros_like(parameter) if name.endswith("bias") else parameter.abs() + 1e-3)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.zero_()
    return network


@torch.no_grad()
def _forward(network: nn.Module, images: Tensor) -> Tensor:
    output: Tensor = network(images)
    return output


def _differs(output: Tensor) -> bool:
    return bool((output != output[:1]).any())
