"""Batch norm over the samples of all processes (`train.sync_batchnorm`), on any device: torch's own works on GPUs alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from datapruning.errors import InvalidValue
from datapruning.training.distributed.collectives import all_reduce


@contextmanager
def sync_batch_norms(model: nn.Module) -> Iterator[None]:
    """While open, the network's batch norms take mean and variance over the samples of all processes in training passes.

    Raises:
        InvalidValue: the network has none, or one that does more than a batch norm does.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    unknown = [type(layer).__name__ for layer in layers if type(layer).forward is not _BatchNorm.forward]
    if not layers or unknown:
        what = f"has a {unknown[0]}, which is more than a batch norm" if unknown else "has no batch norm"
        raise InvalidValue(f"train.sync_batchnorm: the network {what}; set it to false")
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: _BatchNorm, inputs: Tensor) -> Tensor:
    """The batch norm of inputs [n, channels, ...], as `_BatchNorm.forward`, with n over all processes."""
    if not layer.training:
        evaluated: Tensor = _BatchNorm.forward(layer, inputs)
        return evaluated
    values = inputs if inputs.dtype == torch.float64 else inputs.float()
    axes, shape = [0, *range(2, inputs.ndim)], [1, -1, *[1] * (inputs.ndim - 2)]
    count = values.new_full((1,), values.numel() / values.shape[1])
    sums = _SumOverProcesses.apply(torch.cat([values.sum(axes), count]))
    size, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    centred = values - mean.view(shape)
    variance = _SumOverProcesses.apply(centred.square().sum(axes)) / size
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            momentum = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
            layer.running_mean.lerp_(mean, momentum)
            layer.running_var.lerp_(variance * size / (size - 1), momentum)
    outputs: Tensor = centred * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        outputs = outputs * layer.weight.view(shape) + layer.bias.view(shape)
    return outputs.to(inputs.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; every process's loss depends on it, so the gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return all_reduce(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return all_reduce(gradients[0].clone())
