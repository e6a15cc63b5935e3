"""Penultimate features: the input of the last linear layer."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from datapruning.errors import InvalidValue


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers of a network; the last one makes the logits."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def last_linear(model: nn.Module) -> nn.Linear:
    """The layer that makes the logits.

    Raises:
        InvalidValue: the network has no linear layer.
    """
    layers = linear_layers(model)
    if not layers:
        raise InvalidValue("embeddings are the input of a network's last linear layer, and this one has none")
    return layers[-1]


@contextmanager
def penultimate(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list that holds the features [n, width] of the latest forward pass."""
    features: list[Tensor] = []

    def store(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features[:] = [inputs[0].detach()]

    handle = last_linear(model).register_forward_pre_hook(store)
    try:
        yield features
    finally:
        handle.remove()
