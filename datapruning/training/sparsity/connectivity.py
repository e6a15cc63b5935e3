"""Whether anything of the images still reaches the output of a pruned network."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable_layers
from datapruning.utils.upload import upload

NUM_PROBES = 2


def find_cut_layer(model: nn.Module, masks: Mapping[str, Tensor] | Masks, shape: tuple[int, int, int]) -> str | None:
    """The weight of the layer at which a network with masks loses its input; None: its output still depends on it.

    Structure alone is asked for: all weights are taken as positive, biases and running means as 0, so that no ReLU stops a
    signal, and random images must give different outputs, in float64. The layer is the one after the last that the images
    reach. The host waits for a GPU once, unless a layer is cut.

    Args:
        model: the network, which stays as it is.
        masks: where a weight is kept, by the weight's name.
        shape: (height, width, channels) of its images.
    """
    height, width, channels = shape
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((NUM_PROBES, channels, height, width), generator=generator, dtype=torch.float64)
    images = upload(images.numpy(), device)
    kept = {name: upload(mask, device) for name, mask in masks.tensors.items()} if isinstance(masks, Masks) else masks
    layers, whole = dict(prunable_layers(model)), _positive_state(model)
    pruned = {**whole, **{name: whole[name] * kept[name].to(device) for name in layers}}
    reached: list[tuple[str, Tensor]] = []
    was_training = model.training
    model.eval()
    hooks = [
        layer.register_forward_hook(lambda _, inputs, output, name=name: reached.append((name, _differs(output))))
        for name, layer in layers.items()
    ]
    try:
        if bool(_differs(_forward(model, pruned, images))):
            return None
        passed = [(name, bool(differs)) for name, differs in reached]
        if not bool(_differs(_forward(model, whole, images))):  # with all weights, too: it cannot be seen in this way
            return None
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    last = max((number for number, (_, differs) in enumerate(passed) if differs), default=-1)
    return passed[min(last + 1, len(passed) - 1)][0]


def _positive_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers in float64: positive weights; biases and running means 0."""
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        weights = parameter.detach().double()
        state[name] = torch.zeros_like(weights) if name.endswith("bias") else weights.abs() + 1e-3
    for name, buffer in model.named_buffers():
        values = buffer.double() if buffer.is_floating_point() else buffer.clone()
        state[name] = torch.zeros_like(values) if name.endswith("running_mean") else values
    return state


@torch.no_grad()
def _forward(model: nn.Module, state: Mapping[str, Tensor], images: Tensor) -> Tensor:
    output: Tensor = functional_call(model, dict(state), (images,))
    return output


def _differs(output: Tensor) -> Tensor:
    """Whether outputs [n, ...] of n images are not all the same, without dimensions."""
    return (output != output[:1]).any()
