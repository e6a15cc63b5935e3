"""The baselines beside EPSD, and EPSD, behind one call: `saliency(name, case)`, larger = keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.training.losses import CrossEntropy, Loss
from datapruning.training.sparsity.loss_terms import TERMS, SaliencyBatch
from datapruning.training.sparsity.masks import Masks
from datapruning.training.sparsity.meta_gradient import InnerLoop, mask_gradient, normalised
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.sparsity.threshold import Saliency
from datapruning.utils.hashing import hash_ids

RANDOM_KEY = 0x5B4A5E
GRASP_TEMPERATURE = 200.0


class SaliencyInputs(NamedTuple):
    """What a criterion may look at.

    Attributes:
        model: at its initialisation, in training mode; left as it is.
        settings: of the stage.
        self_distill: the self-distillation and its settings.
        task_loss: the objective it is added to.
        inner: a look for each inner step.
        outer: the looks whose loss is differentiated.
        shape: (channels, height, width) of a picture.
        seed: of what is drawn.
        masks: what an earlier round has left.
    """

    model: nn.Module
    settings: SparsityConfig
    self_distill: SelfDistillConfig
    task_loss: Loss
    inner: list[SaliencyBatch]
    outer: list[SaliencyBatch]
    shape: tuple[int, int, int]
    seed: int
    masks: Masks | None = None


def epsd(case: SaliencyInputs) -> Saliency:
    """|dL_SD(theta_i)/dm|, normalised (EPSD, Chen et al. 2024)."""
    return _after_steps(case, case.self_distill, case.task_loss, case.settings.inner_steps)


def prospr(case: SaliencyInputs) -> Saliency:
    """The same of the cross-entropy (ProsPr, Alizadeh et al. 2022)."""
    return _after_steps(case, SelfDistillConfig(), CrossEntropy(), case.settings.inner_steps)


def snip(case: SaliencyInputs) -> Saliency:
    """The same without steps: |w * dL/dw| (SNIP, Lee et al. 2019). Batch norm sees the batch, as in training."""
    return _after_steps(case, SelfDistillConfig(), CrossEntropy(), 0)


def _after_steps(case: SaliencyInputs, how: SelfDistillConfig, base: Loss, steps: int) -> Saliency:
    settings = case.settings
    inner = InnerLoop(steps, settings.inner_lr, settings.mode, settings.match_gradients)
    loss = partial(TERMS[how.method], how, base)
    derivative, _ = mask_gradient(case.model, loss, case.inner, case.outer, inner, case.masks)
    return normalised(derivative)


def grasp(case: SaliencyInputs) -> Saliency:
    """Weight times Hg: whose removal would weaken the gradient flow most is kept (GraSP, Wang et al. 2020; logits / 200)."""
    start = {name: p.detach() for name, p in case.model.named_parameters()}
    buffers = {name: b.detach() for name, b in case.model.named_buffers()}
    weights = prunable(case.model)
    leaves = {name: _masked(start[name], case.masks, name).requires_grad_() for name in weights}
    flow, mean = ({name: torch.zeros_like(p) for name, p in leaves.items()} for _ in range(2))
    for second in (False, True):  # the mean gradient first, then the Hessian times it
        for look in case.outer:
            own = {name: b.clone() for name, b in buffers.items()}
            logits: Tensor = functional_call(case.model, ({**start, **leaves, **own},), (look.images,))
            loss = cross_entropy(logits / GRASP_TEMPERATURE, look.batch.labels) / len(case.outer)
            grads = torch.autograd.grad(loss, tuple(leaves.values()), create_graph=second)
            if second:
                product = torch.stack([(g * mean[name]).sum() for name, g in zip(leaves, grads, strict=True)]).sum()
                grads = torch.autograd.grad(product, tuple(leaves.values()))
            for name, g in zip(leaves, grads, strict=True):
                (flow if second else mean)[name] += g
    found = {name: (leaves[name].detach() * flow[name]).double().cpu().numpy() for name in leaves}
    total = abs(sum(float(each.sum()) for each in found.values())) + 1e-10
    return {name: each / total for name, each in found.items()}


def synflow(case: SaliencyInputs) -> Saliency:
    """|w * dR/dw|, R the summed outputs for a picture of ones through |weights|; no data (SynFlow, Tanaka et al. 2020).

    In float64: the products of a deep network leave the range of float32.
    """
    weights = prunable(case.model)
    state = {name: t.detach().double().abs() for name, t in case.model.state_dict().items()}
    leaves = {name: _masked(state[name], case.masks, name).requires_grad_() for name in weights}
    example = next(iter(leaves.values()))
    was_training = case.model.training
    try:
        ones = torch.ones(1, *case.shape, dtype=torch.float64, device=example.device)
        outputs: Tensor = functional_call(case.model.eval(), ({**state, **leaves},), (ones,))
        grads = torch.autograd.grad(outputs.sum(), tuple(leaves.values()))
    finally:
        case.model.train(was_training)
    return {
        name: (leaf.detach() * grad).abs().cpu().numpy()
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }  # fmt: skip


def magnitude(case: SaliencyInputs) -> Saliency:
    """|w|."""
    return {name: w.detach().abs().double().cpu().numpy() for name, w in prunable(case.model).items()}


def random(case: SaliencyInputs) -> Saliency:
    """By lot, every weight alike."""
    found = {}
    for number, (name, w) in enumerate(prunable(case.model).items()):
        bits = hash_ids(np.arange(w.numel(), dtype=np.int64), RANDOM_KEY, case.seed, number)
        found[name] = (bits >> np.uint64(11)).astype(np.float64).reshape(w.shape)
    return found


def _masked(weight: Tensor, masks: Masks | None, name: str) -> Tensor:
    return weight.clone() if masks is None else weight * torch.from_numpy(masks.tensors[name]).to(weight)


CRITERIA: dict[str, Callable[[SaliencyInputs], Saliency]] = {
    "epsd": epsd, "prospr": prospr, "snip": snip, "grasp": grasp, "synflow": synflow, "magnitude": magnitude,
    "random": random,
}  # fmt: skip
DATA_FREE = ("synflow", "magnitude", "random")


def saliency(case: SaliencyInputs) -> Saliency:
    """By the criterion that the settings name."""
    return CRITERIA[case.settings.criterion](case)
