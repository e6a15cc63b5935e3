"""The saliency of EPSD and its kin: how a loss after some steps of training depends on each entry of the mask.

With m = 1 on every prunable weight and theta_0 = m * w_init, theta_{t+1} = theta_t - rate * dL_t/dtheta_t, the saliency
of a weight is |dL(theta_i)/dm|, over its sum over all weights. No steps and cross-entropy: SNIP (Lee et al. 2019).
Steps and cross-entropy: ProsPr (Alizadeh et al. 2022). Steps and a self-distillation loss: EPSD (Chen et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from datapruning.training.self_distillation.base import Forward
from datapruning.training.sparsity.loss_terms import Terms
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.prunable import prunable

BatchT = TypeVar("BatchT", contravariant=True)


class SaliencyLoss(Protocol[BatchT]):
    """The loss whose saliency is taken, in two terms, so that they can be weighed against each other."""

    def __call__(self, now: Forward, before: Forward | None, look: BatchT) -> Terms:
        """Of the network as it is now and, without gradient, as it was one inner step before."""
        ...


@dataclass(frozen=True)
class InnerLoop:
    """The steps from the initialisation to where the saliency is taken.

    Attributes:
        steps: how many.
        lr: of plain gradient descent.
        mode: "full" differentiates through the steps, "first-order" takes dL/dtheta_i * w_init.
        match_gradients: the second term is weighed so that its gradient is as long as the first one's.
    """

    steps: int = 3
    lr: float = 0.1
    mode: str = "full"
    match_gradients: bool = False


def mask_gradient(
    model: nn.Module,
    loss: SaliencyLoss[BatchT],
    inside: Sequence[BatchT],
    outside: Sequence[BatchT],
    inner: InnerLoop,
    masks: Masks | None = None,
) -> tuple[dict[str, Tensor], tuple[float, float]]:
    """d(loss after the steps)/d(mask), signed, at the given masks (default: all ones).

    The model and its buffers are left as they are. In training mode batch norm sees the batch, as in training.

    Args:
        model: at its initialisation, in the mode the loss is to see.
        loss: of a look.
        inside: the looks of the inner steps, one each.
        outside: the looks whose mean loss is differentiated.
        inner: how many steps, and how.
        masks: where the derivative is taken.

    Returns:
        The derivative for each prunable weight, by name; and both terms of the loss there.
    """
    weights = prunable(model)
    start = {name: p.detach() for name, p in model.named_parameters()}
    buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
    ones = {
        name: (torch.ones_like(w) if masks is None else torch.from_numpy(masks.tensors[name]).to(w)).requires_grad_()
        for name, w in weights.items()
    }
    full = inner.mode == "full"
    theta = {name: p * ones[name] if name in ones else p.clone().requires_grad_() for name, p in start.items()}
    if not full:
        theta = _leaves(theta)
    before: Forward | None = None
    for look in inside[: inner.steps]:
        terms = loss(_forward(model, theta, buffers), before, look)
        total = _combine(terms, tuple(theta.values()), inner.match_gradients)
        grads = torch.autograd.grad(total, tuple(theta.values()), create_graph=full, allow_unused=True)
        before = _forward(model, {name: p.detach() for name, p in theta.items()}, buffers)
        theta = {
            name: p if grad is None else p - inner.lr * grad for (name, p), grad in zip(theta.items(), grads, strict=True)
        }
        if not full:
            theta = _leaves(theta)
    targets = tuple(ones.values()) if full else tuple(theta[name] for name in ones)
    sums = [torch.zeros_like(each) for each in targets]
    seen = [0.0, 0.0]
    for number, look in enumerate(outside):
        terms = loss(_forward(model, theta, buffers), before, look)
        total = _combine(terms, targets, inner.match_gradients) / len(outside)
        last = number == len(outside) - 1
        grads = torch.autograd.grad(total, targets, allow_unused=True, retain_graph=full and not last)
        for held, grad in zip(sums, grads, strict=True):
            if grad is not None:
                held += grad
        for place, term in enumerate(terms):
            seen[place] += float(term.detach()) / len(outside) if term is not None else 0.0
    found = dict(zip(ones, sums, strict=True))
    if not full:  # theta_0 = m * w_init, so dtheta_0/dm = w_init; the steps between count as the identity
        found = {name: grad * start[name] for name, grad in found.items()}
    return found, (seen[0], seen[1])


def normalised(derivative: Mapping[str, Tensor]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """|derivative|, all weights together summing to 1; float64."""
    sizes = {name: each.detach().abs().double().cpu().numpy() for name, each in derivative.items()}
    total = sum(float(each.sum()) for each in sizes.values())
    return {name: each / (total or 1.0) for name, each in sizes.items()}


def _forward(model: nn.Module, theta: Mapping[str, Tensor], buffers: dict[str, Tensor]) -> Forward:
    return partial(_call, model, theta, buffers)


def _call(model: nn.Module, theta: Mapping[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
    own = {name: b.clone() for name, b in buffers.items()}  # batch norm writes into them
    logits: Tensor = functional_call(model, ({**theta, **own},), (images,))
    return logits


def _leaves(theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: p.detach().requires_grad_() for name, p in theta.items()}


def _combine(terms: Terms, by: Sequence[Tensor], matched: bool) -> Tensor:
    """The loss; with `matched`, the second term weighed so that both gradients by `by` are equally long."""
    base, extra = terms
    if extra is None:
        return base
    if not matched or not extra.requires_grad:
        return base + extra
    sizes = []
    for term in terms:
        assert term is not None
        grads = torch.autograd.grad(term, tuple(by), retain_graph=True, allow_unused=True)
        sizes.append(sum(float((g.double() ** 2).sum()) for g in grads if g is not None) ** 0.5)
    return base + extra * (sizes[0] / sizes[1] if sizes[1] > 0 else 0.0)
