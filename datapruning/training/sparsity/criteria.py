"""EPSD and its baselines by the names in `CRITERIA`; larger values are kept."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from datapruning.config.sparsity import SparsityConfig
from datapruning.training.sparsity.meta_gradient import SaliencyBatch, SaliencyLoss, mask_gradient, normalised, sum_of
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.sparsity.threshold import Kept, Saliency
from datapruning.utils.hashing import hash_ids

RANDOM_KEY = 0x5B4A5E
GRASP_TEMPERATURE = 200.0


class SaliencyInputs(NamedTuple):
    """What a criterion may use.

    Attributes:
        model: at its initialisation, in training mode; left as it is.
        loss: whose saliency "epsd" takes.
        inner: a batch for each inner step; empty for criteria without such steps.
        outer: the batches whose loss is differentiated.
        shape: (channels, height, width) of an image.
        masks: what the round before keeps; None in the first.
    """

    model: nn.Module
    settings: SparsityConfig
    loss: SaliencyLoss
    inner: list[SaliencyBatch]
    outer: list[SaliencyBatch]
    shape: tuple[int, int, int]
    seed: int
    masks: Kept | None = None


def epsd(inputs: SaliencyInputs) -> Saliency:
    """|dL_SD(theta_i)/dm|, normalised (EPSD, Chen et al. 2024)."""
    gradient, _ = mask_gradient(inputs.model, inputs.loss, inputs.inner, inputs.outer, inputs.settings, inputs.masks)
    return normalised(gradient)


def prospr(inputs: SaliencyInputs) -> Saliency:
    """The same of the cross-entropy (ProsPr, Alizadeh et al. 2022).

    Without inner batches: |w * dL/dw| (SNIP, Lee et al. 2019). Batch norm sees the batch, as in training.
    """
    return epsd(inputs._replace(loss=SaliencyLoss()))


def grasp(inputs: SaliencyInputs) -> Saliency:
    """Weight times Hg: weights whose removal would weaken the gradient flow most are kept (GraSP, Wang et al. 2020).

    Logits are divided by 200.
    """
    initial = {name: p.detach() for name, p in inputs.model.named_parameters()}
    buffers = {name: b.detach() for name, b in inputs.model.named_buffers()}
    leaves = {name: _masked(initial[name], inputs.masks, name).requires_grad_() for name in prunable(inputs.model)}
    flow, mean = ({name: torch.zeros_like(p) for name, p in leaves.items()} for _ in range(2))
    for second_order in (False, True):  # the mean gradient first, then the Hessian times it
        for batch in inputs.outer:
            copies = {name: b.clone() for name, b in buffers.items()}
            logits: Tensor = functional_call(inputs.model, ({**initial, **leaves, **copies},), (batch.images,))
            loss = cross_entropy(logits / GRASP_TEMPERATURE, batch.batch.labels) / len(inputs.outer)
            grads = torch.autograd.grad(loss, tuple(leaves.values()), create_graph=second_order)
            if second_order:
                product = torch.stack([(g * mean[name]).sum() for name, g in zip(leaves, grads, strict=True)]).sum()
                grads = torch.autograd.grad(product, tuple(leaves.values()))
            for name, g in zip(leaves, grads, strict=True):
                (flow if second_order else mean)[name] += g
    values = {name: (leaves[name].detach() * flow[name]).double() for name in leaves}
    total = abs(sum_of(values.values())) + 1e-10
    return {name: value / total for name, value in values.items()}


def synflow(inputs: SaliencyInputs) -> Saliency:
    """|w * dR/dw|, R the summed outputs for an image of ones through |weights|; no data (SynFlow, Tanaka et al. 2020).

    In float64: the products of a deep network leave the range of float32.
    """
    state = {name: t.detach().double().abs() for name, t in inputs.model.state_dict().items()}
    leaves = {name: state[name] for name in prunable(inputs.model)}
    for name, leaf in leaves.items():
        if inputs.masks is not None:
            leaf.mul_(inputs.masks[name])
        leaf.requires_grad_()
    example = next(iter(leaves.values()))
    was_training = inputs.model.training
    try:
        ones = torch.ones(1, *inputs.shape, dtype=torch.float64, device=example.device)
        outputs: Tensor = functional_call(inputs.model.eval(), (state,), (ones,))
        grads = torch.autograd.grad(outputs.sum(), tuple(leaves.values()))
    finally:
        inputs.model.train(was_training)
    pairs = zip(leaves.items(), grads, strict=True)
    return {name: leaf.detach().mul_(grad).abs_() for (name, leaf), grad in pairs}  # no further copy of the weights


def magnitude(inputs: SaliencyInputs) -> Saliency:
    """|w|."""
    return {name: w.detach().abs().double() for name, w in prunable(inputs.model).items()}


def random(inputs: SaliencyInputs) -> Saliency:
    """A random number for every weight, drawn on the host."""
    values = {}
    for number, (name, w) in enumerate(prunable(inputs.model).items()):
        bits = hash_ids(np.arange(w.numel(), dtype=np.int64), RANDOM_KEY, inputs.seed, number)
        values[name] = torch.from_numpy((bits >> np.uint64(11)).astype(np.float64).reshape(w.shape))
    return values


def _masked(weight: Tensor, masks: Kept | None, name: str) -> Tensor:
    return weight.clone() if masks is None else weight * masks[name].to(weight.dtype)


CRITERIA: dict[str, Callable[[SaliencyInputs], Saliency]] = {
    "epsd": epsd, "prospr": prospr, "snip": prospr, "grasp": grasp, "synflow": synflow, "magnitude": magnitude,
    "random": random,
}  # fmt: skip
DATA_FREE = ("synflow", "magnitude", "random")
