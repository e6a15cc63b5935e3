"""Muon: momentum with an orthogonalised update, for convolutions and matrices; SGD with momentum for all other weights.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the weights' normalisation as in airbench.
torch has a Muon from 2.9 on, for weights of two dimensions.
"""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 3
EPSILON = 1e-7


def orthogonalize(matrix: Tensor, iterations: int = NUM_ITERATIONS) -> Tensor:
    """Bring the singular values of a matrix float32 [rows, columns] near 1, by so many Newton-Schulz iterations.

    Each maps X to a X + (b A + c A^2) X with A = X X^T, which takes the singular values of a matrix of norm 1 into about
    0.7 to 1.2.
    """
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm() + EPSILON)
    transposed = x.shape[0] > x.shape[1]
    x = x.T if transposed else x
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if transposed else x
    return result


class Muon(torch.optim.Optimizer):
    """Steps for both kinds of weights.

    A matrix (a convolution is flattened to [outputs, inputs * height * width]) is scaled to the norm sqrt(outputs) before
    each step, which a batch norm behind it makes up for, and takes a step of `lr` times the orthogonalised momentum; there
    is no weight decay. All other weights take steps of SGD. Both momenta are Nesterov's.

    Args:
        groups: Dictionaries with `params`, `lr`, `momentum`, `weight_decay` and `orthogonalize`, whether the weights are
            matrices.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(list(groups), {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step by the weights' gradients."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            weights = [weight for weight in cast(list[Tensor], group["params"]) if weight.grad is not None]
            if not weights:
                continue
            gradients = [cast(Tensor, weight.grad) for weight in weights]
            if not group["orthogonalize"] and group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
            momenta = [self._momentum(weight) for weight in weights]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            updates = list(torch._foreach_add(gradients, momenta, alpha=group["momentum"]))
            if group["orthogonalize"]:
                for weight in weights:
                    weight.mul_(len(weight) ** 0.5 / (weight.norm() + EPSILON))
                updates = [orthogonalize(update.flatten(1)).view_as(update) for update in updates]
            if isinstance(group["lr"], Tensor):
                torch._foreach_mul_(updates, group["lr"])
                torch._foreach_sub_(weights, updates)
            else:
                torch._foreach_add_(weights, updates, alpha=-group["lr"])
        return loss

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum_buffer"]
        return momentum
