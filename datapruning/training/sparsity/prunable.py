"""Which weights can be pruned: those of convolutions and linear layers of a stock torch model. Biases and norms stay."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datapruning.errors import InvalidValue
from datapruning.runs.training_records import PrunedLayer

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def prunable_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(name of the weight, its layer) of trained layers, in the model's order; a layer that is used twice comes once."""
    for name, module in model.named_modules():
        if isinstance(module, LAYERS) and module.weight.requires_grad:
            yield (f"{name}.weight" if name else "weight"), module


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that can be pruned, by name.

    Raises:
        InvalidValue: there are none.
    """
    named = dict(model.named_parameters())
    weights = {name: named[name] for name, _ in prunable_layers(model) if name in named}
    if not weights:
        raise InvalidValue(f"{type(model).__name__} has no convolution and no linear layer: there is nothing to prune")
    return weights


def layer_table(model: nn.Module, kept: Mapping[str, int], shape: tuple[int, int, int]) -> list[PrunedLayer]:
    """What is kept in each layer (`kept`: by the weight's name) and what it costs, for images of `shape`, channels last."""
    positions: dict[str, int] = {}
    hooks = []
    for name, module in prunable_layers(model):

        def count(layer: nn.Module, _: Any, out: Tensor, name: str = name) -> None:
            used = out.numel() // out.shape[-1] if isinstance(layer, nn.Linear) else out[0, 0].numel()
            positions[name] = positions.get(name, 0) + used

        hooks.append(module.register_forward_hook(count))
    was_training = model.training
    height, width, channels = shape
    example = next(model.parameters())
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, channels, height, width, dtype=example.dtype, device=example.device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return [
        PrunedLayer(
            name=name, shape=tuple(weight.shape), total=weight.numel(), kept=kept[name], positions=positions.get(name, 0)
        )
        for name, weight in prunable(model).items()
    ]
