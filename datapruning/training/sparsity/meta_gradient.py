"""The saliency of EPSD and its relatives: how a loss after some steps of training depends on each entry of the mask.

With m = 1 on every prunable weight and theta_0 = m * w_init, theta_{t+1} = theta_t - lr * dL_t/dtheta_t, the saliency of a
weight is |dL(theta_i)/dm| over its sum over all weights. Without steps, of the cross-entropy: SNIP (Lee et al. 2019).
After steps, of the cross-entropy: ProsPr (Alizadeh et al. 2022); of a self-distillation loss: EPSD (Chen et al. 2024).

At an initialisation self-distillation has little to learn from: PS-KD has no earlier predictions, DLB no batch before.
Here the earlier network is the one an inner step before, on the same batch, which keeps their idea.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.data.loaders.loader import Batch
from datapruning.training.losses import CrossEntropy, Loss, kd_loss
from datapruning.training.self_distillation.base import Forward
from datapruning.training.self_distillation.tf_kd import virtual_teacher_loss
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.sparsity.threshold import Kept

Terms = tuple[Tensor, Tensor | None]
"""Task loss, term of self-distillation."""
Network = Callable[[Mapping[str, Tensor]], Forward]
"""From parameters by name to the network that has them."""


class SaliencyBatch(NamedTuple):
    """A batch that a saliency is taken on.

    Attributes:
        images: float32 [n, channels, height, width].
        batch: their labels and ids.
        paired_images: likewise: another image of each one's class (CS-KD), or another view of the same (DLB); or None.
        self_teacher_logits: [1, n, classes] of the dense self teacher (TF-KD self); or None.
    """

    images: Tensor
    batch: Batch
    paired_images: Tensor | None = None
    self_teacher_logits: Tensor | None = None


@dataclass(frozen=True)
class SaliencyLoss:
    """The loss whose saliency is taken: of the labels alone (ProsPr, SNIP), or with self-distillation (EPSD).

    `task_loss`: cross-entropy, or the student's loss with a teacher.
    """

    config: SelfDistillConfig = field(default_factory=SelfDistillConfig)
    task_loss: Loss = field(default_factory=CrossEntropy)

    def __call__(self, forward: Forward, previous: Forward | None, inputs: SaliencyBatch) -> Terms:
        """Both terms of the loss, scalars, so that they can be weighted against each other.

        PS-KD has its final weight from the start, as the ramp of the training begins near 0. `previous` is the network one
        inner step before, which gets no gradient; None in the first step.
        """
        config = self.config
        if config.method == "dlb":
            return self._dlb(forward, previous, inputs)
        logits = forward(inputs.images)
        if config.method == "tf-kd":
            term = virtual_teacher_loss(logits, inputs.batch.labels, config.tf_kd_temperature, config.tf_kd_correct)
            task = self._task(logits, inputs)
            return task, config.tf_kd_weight * (term - task)
        if config.method == "cs-kd":
            assert inputs.paired_images is not None
            with torch.no_grad():
                target = forward(inputs.paired_images)
            task = self._task(logits, inputs)
            return task, config.cs_kd_weight * kd_loss(logits, target[None], config.cs_kd_temperature)
        task = self._task(logits, inputs)
        if config.method == "ps-kd" and previous is not None:
            with torch.no_grad():
                target = previous(inputs.images).softmax(1)
            return task, config.ps_kd_weight * (cross_entropy(logits, target) - task)
        if config.method == "tf-kd-self":
            assert inputs.self_teacher_logits is not None
            term = config.tf_kd_self_scale * kd_loss(logits, inputs.self_teacher_logits, config.tf_kd_self_temperature)
            return task, config.tf_kd_self_weight * (term - task)
        return task, None

    def _dlb(self, forward: Forward, previous: Forward | None, inputs: SaliencyBatch) -> Terms:
        """Another view of the batch is pulled to the prediction one step before on the first view."""
        assert inputs.paired_images is not None
        n = len(inputs.images)
        logits = forward(torch.cat([inputs.images, inputs.paired_images]))
        task = (self._task(logits[:n], inputs) + self._task(logits[n:], inputs)) / 2
        if previous is None:
            return task, None
        with torch.no_grad():
            target = previous(inputs.images)
        return task, self.config.dlb_weight * kd_loss(logits[n:], target[None], self.config.dlb_temperature)

    def _task(self, logits: Tensor, inputs: SaliencyBatch) -> Tensor:
        return self.task_loss(logits, inputs.batch, 0).total


def mask_gradient(
    model: nn.Module,
    loss: SaliencyLoss,
    inner_batches: Sequence[SaliencyBatch],
    outer_batches: Sequence[SaliencyBatch],
    config: SparsityConfig,
    masks: Kept | None = None,
) -> tuple[dict[str, Tensor], tuple[float, float]]:
    """d(loss after the steps)/d(mask), signed, at the given masks (default: all ones), and both terms of the loss.

    The loss after a step on each inner batch is the mean over the outer ones. `config` has the learning rate,
    `match_gradients` and `mode`: "full" differentiates through the steps, "first-order" takes dL/dtheta_i * w_init. The
    model, at its initialisation, and its buffers are left as they are. In training mode batch norm sees the batch, as in
    training.
    """
    initial = {name: p.detach() for name, p in model.named_parameters()}
    network = partial(partial, _call, model, {name: b.detach().clone() for name, b in model.named_buffers()})
    mask_vars = {
        name: (torch.ones_like(w) if masks is None else masks[name].to(w.dtype)).requires_grad_()
        for name, w in prunable(model).items()
    }
    masked = {name: p * mask_vars[name] if name in mask_vars else p.clone().requires_grad_() for name, p in initial.items()}
    trained, previous = inner_loop(network, loss, masked, inner_batches, config)
    if config.mode == "full":
        return outer_gradient(network, loss, trained, previous, mask_vars, outer_batches, config)
    weights = {name: trained[name] for name in mask_vars}
    gradient, terms = outer_gradient(network, loss, trained, previous, weights, outer_batches, config)
    # theta_0 = m * w_init, so dtheta_0/dm = w_init; the inner steps count as the identity
    return {name: grad * initial[name] for name, grad in gradient.items()}, terms


def inner_loop(
    network: Network,
    loss: SaliencyLoss,
    parameters: Mapping[str, Tensor],
    batches: Sequence[SaliencyBatch],
    config: SparsityConfig,
) -> tuple[Mapping[str, Tensor], Forward | None]:
    """Gradient descent, a step a batch; the parameters after it, and the network one step before (None without steps).

    In the mode "full" the result is a differentiable function of `parameters`, otherwise new leaves.
    """
    full = config.mode == "full"
    previous: Forward | None = None
    for batch in batches:
        parameters = parameters if full else _leaves(parameters)
        variables = tuple(parameters.values())
        total = _combine(loss(network(parameters), previous, batch), variables, match=config.match_gradients)
        grads = torch.autograd.grad(total, variables, create_graph=full, allow_unused=True)
        previous = network({name: p.detach() for name, p in parameters.items()})
        parameters = {
            name: p if grad is None else p - config.inner_lr * grad
            for (name, p), grad in zip(parameters.items(), grads, strict=True)
        }
    return parameters if full else _leaves(parameters), previous


def outer_gradient(
    network: Network,
    loss: SaliencyLoss,
    parameters: Mapping[str, Tensor],
    previous: Forward | None,
    variables: Mapping[str, Tensor],
    batches: Sequence[SaliencyBatch],
    config: SparsityConfig,
) -> tuple[dict[str, Tensor], tuple[float, float]]:
    """The gradient of the mean loss of the batches by `variables`, by name; and the means of both terms."""
    gradient = {name: torch.zeros_like(variable) for name, variable in variables.items()}
    means = [0.0, 0.0]
    for number, batch in enumerate(batches, 1):
        terms = loss(network(parameters), previous, batch)
        total = _combine(terms, tuple(variables.values()), match=config.match_gradients) / len(batches)
        retain = number < len(batches)  # the graph of the inner loop is shared by all batches
        grads = torch.autograd.grad(total, tuple(variables.values()), allow_unused=True, retain_graph=retain)
        for name, grad in zip(gradient, grads, strict=True):
            if grad is not None:
                gradient[name] += grad
        for index, term in enumerate(terms):
            means[index] += float(term.detach()) / len(batches) if term is not None else 0.0
    return gradient, (means[0], means[1])


def normalised(derivative: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|derivative|, all weights together summing to 1; float64."""
    sizes = {name: tensor.detach().abs().double() for name, tensor in derivative.items()}
    total = sum_of(sizes.values()) or 1.0
    return {name: size.div_(total) for name, size in sizes.items()}


def sum_of(tensors: Iterable[Tensor]) -> float:
    """The sum of all numbers of float64 tensors; a CPU adds them in numpy's order, and the host waits for a GPU once."""
    sums: list[float] = torch.stack([_sum(tensor) for tensor in tensors]).tolist()
    return sum(sums)


def _sum(tensor: Tensor) -> Tensor:
    return torch.tensor(tensor.numpy().sum()) if tensor.device.type == "cpu" else tensor.sum()


def _call(model: nn.Module, buffers: Mapping[str, Tensor], parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    copies = {name: b.clone() for name, b in buffers.items()}  # batch norm writes into them
    logits: Tensor = functional_call(model, ({**parameters, **copies},), (images,))
    return logits


def _leaves(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: p.detach().requires_grad_() for name, p in parameters.items()}


def _combine(terms: Terms, variables: Sequence[Tensor], *, match: bool) -> Tensor:
    """The loss; with `match`, the second term is weighted so that both gradients by `variables` are equally long."""
    task, extra = terms
    if extra is None:
        return task
    if not match or not extra.requires_grad:
        return task + extra
    norms = []
    for term in (task, extra):
        grads = torch.autograd.grad(term, tuple(variables), retain_graph=True, allow_unused=True)
        norms.append(sum(float((g.double() ** 2).sum()) for g in grads if g is not None) ** 0.5)
    return task + extra * (norms[0] / norms[1] if norms[1] > 0 else 0.0)
