"""Which weights can be pruned: those of convolutions and linear layers of a stock torch model. Biases and norms stay."""

from collections.abc import Iterator, Mapping

from torch import nn

from datapruning.errors import InvalidValue
from datapruning.models.flops import layer_flops
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
    flops = layer_flops(model, shape)
    return [
        PrunedLayer(
            name=name, shape=tuple(weight.shape), total=weight.numel(), kept=kept[name],
            positions=flops.get(name.rpartition(".")[0], 0) // (2 * weight.numel()),
        )
        for name, weight in prunable(model).items()
    ]  # fmt: skip
