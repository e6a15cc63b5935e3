"""Saliencies against finite differences in the mask and against cases worked by hand, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.training.sparsity.criteria import CRITERIA, SaliencyInputs
from datapruning.training.sparsity.meta_gradient import SaliencyBatch, SaliencyLoss, mask_gradient, normalised
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.sparsity.threshold import Saliency

METHODS = ["none", "cs-kd", "ps-kd", "dlb", "tf-kd", "tf-kd-self"]
RATE = 0.3


def network() -> nn.Module:
    """Convolution, batch norm, ReLU-like, linear: smooth, so that finite differences exist."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Softplus(), nn.Flatten(), nn.Linear(12, 4)
    ).double()


def make_saliency_batch(images: Tensor, labels: Tensor, paired_images: Tensor | None = None) -> SaliencyBatch:
    """Make a loss of images float32 [n, channels, height, width] in memory."""
    return SaliencyBatch(images, Batch(images, labels, np.arange(len(labels))), paired_images)


def look(seed: int) -> SaliencyBatch:
    """Make six images of 4x4."""
    random = torch.Generator().manual_seed(seed)
    images, others = (torch.randn(6, 1, 4, 4, dtype=torch.float64, generator=random) for _ in range(2))
    teacher = torch.randn(1, 6, 4, dtype=torch.float64, generator=random)
    return make_saliency_batch(images, torch.arange(6) % 4, others)._replace(self_teacher_logits=teacher)


def after_steps(
    model: nn.Module, masks: dict[str, Tensor], method: str, inside: list[SaliencyBatch], mode: str, start: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Return theta_i and theta_(i-1) by plain steps, without differentiating through them."""
    theta = {name: p * masks[name] if name in masks else p for name, p in start.items()}
    before = None
    for item in inside:
        leaves = {name: p.detach().requires_grad_() for name, p in theta.items()}
        loss = total(model, leaves, before, method, item)
        grads = torch.autograd.grad(loss, tuple(leaves.values()))
        before = {name: p.detach() for name, p in theta.items()}
        theta = {name: p.detach() - RATE * g for (name, p), g in zip(leaves.items(), grads, strict=True)}
    return theta, before


def total(
    model: nn.Module, theta: dict[str, Tensor], before: dict[str, Tensor] | None, method: str, item: SaliencyBatch
) -> Tensor:
    """Return the loss at theta."""

    def forward(parameters: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        return lambda images: functional_call(model, ({**parameters, **buffers},), (images,))

    loss = SaliencyLoss(SelfDistillConfig(method=method))
    base, extra = loss(forward(theta), forward(before) if before else None, item)
    return base if extra is None else base + extra


@pytest.mark.parametrize("mode", ["full", "first-order"])
@pytest.mark.parametrize("method", METHODS)
def test_the_saliency_equals_finite_differences_in_the_mask(method: str, mode: Literal["full", "first-order"]) -> None:
    """With batch norm in training mode, and other samples in each step.

    The steps keep their targets (the partner's prediction, the step before) fixed when the mask moves, as the saliency
    does: so the mask is moved a little and the loss compared, the targets being those of the unmoved walk.
    """
    model, inside, outside = network(), [look(1), look(2)], look(3)
    start = {name: p.detach() for name, p in model.named_parameters()}
    ones = {name: torch.ones_like(w) for name, w in prunable(model).items()}
    loss = SaliencyLoss(SelfDistillConfig(method=method))
    saliency, _ = mask_gradient(model, loss, inside, [outside], SparsityConfig(inner_lr=RATE, mode=mode))
    frozen = Frozen(model, method, inside, outside, start)
    for name in ones:
        numbers = torch.zeros_like(ones[name])
        for index in np.ndindex(*ones[name].shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = {n: m.clone() for n, m in ones.items()}
                moved[name][index] += step
                values.append(frozen.loss(moved, mode))
            numbers[index] = (values[0] - values[1]) / 2e-5
        torch.testing.assert_close(saliency[name], numbers, rtol=1e-5, atol=1e-8)


class Frozen:
    """Return the loss with every detached target fixed at its value for the mask of ones."""

    def __init__(
        self, model: nn.Module, method: str, inside: list[SaliencyBatch], outside: SaliencyBatch, start: dict[str, Tensor]
    ) -> None:
        self.model, self.method, self.start = model, method, start
        self.looks = [*inside, outside]
        self.path: list[dict[str, Tensor]] = []
        ones = {name: torch.ones_like(w) for name, w in prunable(model).items()}
        for count in range(len(self.looks)):
            self.path.append(after_steps(model, ones, method, inside[:count], "full", start)[0])

    def loss(self, masks: dict[str, Tensor], mode: str) -> float:
        theta = {name: p * masks[name] if name in masks else p for name, p in self.start.items()}
        if mode == "first-order":  # the steps count as the identity
            shift = {name: p - self.start[name] for name, p in theta.items()}
            theta = {name: p + shift[name] for name, p in self.path[-1].items()}
            return float(self._at(theta, len(self.looks) - 1))
        for number in range(len(self.looks) - 1):
            leaves = {name: p.detach().requires_grad_() for name, p in theta.items()}
            grads = torch.autograd.grad(self._at(leaves, number), tuple(leaves.values()))
            theta = {name: p.detach() - RATE * g for (name, p), g in zip(leaves.items(), grads, strict=True)}
        return float(self._at(theta, len(self.looks) - 1))

    def _at(self, theta: dict[str, Tensor], number: int) -> Tensor:
        """Return the loss at theta, with detached values from the unperturbed path."""

        def forward(parameters: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
            buffers = {name: b.clone() for name, b in self.model.named_buffers()}
            return lambda images: functional_call(self.model, ({**parameters, **buffers},), (images,))

        def now(images: Tensor) -> Tensor:  # targets are computed without gradients
            return forward(theta if torch.is_grad_enabled() else self.path[number])(images)

        before = forward(self.path[number - 1]) if number else None
        base, extra = SaliencyLoss(SelfDistillConfig(method=self.method))(now, before, self.looks[number])
        return base if extra is None else base + extra


def test_the_model_is_unchanged_and_removed_weights_have_derivatives() -> None:
    model = network()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    loss = SaliencyLoss()
    saliency, _ = mask_gradient(model, loss, [look(1)], [look(2), look(3)], SparsityConfig(inner_lr=RATE))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    parts = [mask_gradient(model, loss, [look(1)], [look(k)], SparsityConfig(inner_lr=RATE))[0] for k in (2, 3)]
    for name, item in saliency.items():
        torch.testing.assert_close(item, (parts[0][name] + parts[1][name]) / 2)
    assert sum(float(item.sum()) for item in normalised(saliency).values()) == pytest.approx(1)


def test_matched_terms_have_gradients_of_one_length() -> None:
    model, item = network(), look(1)
    loss = SaliencyLoss(SelfDistillConfig(method="cs-kd"))
    both, (base, extra) = mask_gradient(model, loss, [], [item], SparsityConfig(match_gradients=True))
    unmatched, _ = mask_gradient(model, SaliencyLoss(), [], [item], SparsityConfig())
    rest = {name: both[name] - unmatched[name] for name in both}
    sizes = [sum(float((g**2).sum()) for g in part.values()) for part in (unmatched, rest)]
    assert sizes[0] == pytest.approx(sizes[1])
    assert base > 0
    assert extra > 0


def by_hand(
    prune_by: str, model: nn.Module, looks: list[SaliencyBatch], shape: tuple[int, int, int] = (1, 1, 2)
) -> Saliency:
    """Return the saliency of a small case."""
    settings = SparsityConfig(sparsity=0.5, criterion=prune_by)
    return CRITERIA[prune_by](SaliencyInputs(model, settings, SaliencyLoss(), [], looks, shape, 0))


def two_layers() -> nn.Module:
    """Outputs B (A x), no bias."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    weights = ([[1.0, -2.0], [0.5, 1.0]], [[2.0, 1.0], [-1.0, 3.0]])
    for layer, values in zip(model[1:], weights, strict=True):  # type: ignore[arg-type]
        layer.weight.data = torch.tensor(values, dtype=torch.float64)
    return model


def test_synflow_by_hand() -> None:
    """R = 1^T |B| |A| 1; the score of A_ij is (column sum i of |B|) |A_ij|, of B_ij it is |B_ij| (row sum j of |A|)."""
    saliency = by_hand("synflow", two_layers(), [])
    np.testing.assert_allclose(saliency["1.weight"], [[3 * 1, 3 * 2], [4 * 0.5, 4 * 1]])
    np.testing.assert_allclose(saliency["2.weight"], [[2 * 3, 1 * 1.5], [1 * 3, 3 * 1.5]])


def one_image() -> SaliencyBatch:
    return make_saliency_batch(torch.tensor([[[[1.0, 2.0]]]], dtype=torch.float64), torch.tensor([1]))


def test_snip_by_hand() -> None:
    """With x = (1, 2): Ax = (-3, 2.5), z = (-3.5, 10.5); dL/dz = (p, -p) with p = 1 / (1 + e^14)."""
    saliency = by_hand("snip", two_layers(), [one_image()])
    p = 1 / (1 + np.exp(14.0))
    hidden = np.array([-3.0, 2.5])
    of_b = np.abs(np.outer([p, -p], hidden) * [[2.0, 1.0], [-1.0, 3.0]])
    back = np.array([[2.0, 1.0], [-1.0, 3.0]]).T @ [p, -p]
    of_a = np.abs(np.outer(back, [1.0, 2.0]) * [[1.0, -2.0], [0.5, 1.0]])
    total = of_a.sum() + of_b.sum()
    np.testing.assert_allclose(saliency["1.weight"], of_a / total, rtol=1e-9)
    np.testing.assert_allclose(saliency["2.weight"], of_b / total, rtol=1e-9)


def test_grasp_is_weight_times_hessian_times_gradient() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3, bias=False)).double()
    looks = [make_saliency_batch(torch.randn(4, 1, 1, 2, dtype=torch.float64), torch.arange(4) % 3) for _ in range(2)]
    weight = model[1].weight.detach()

    def mean_loss(flat: Tensor) -> Tensor:
        losses = [
            nn.functional.cross_entropy(item.images.flatten(1) @ flat.view(3, 2).T / 200, item.batch.labels)
            for item in looks
        ]
        return torch.stack(losses).mean()

    flat = weight.flatten()
    gradient = torch.func.grad(mean_loss)(flat)
    hessian = torch.autograd.functional.hessian(mean_loss, flat)
    expected = (flat * (hessian @ gradient)).view(3, 2)
    saliency = by_hand("grasp", model, looks)["1.weight"]
    np.testing.assert_allclose(saliency, (expected / (expected.sum().abs() + 1e-10)).numpy(), rtol=1e-9)


def test_magnitude_and_random_saliencies() -> None:
    model = two_layers()
    assert by_hand("magnitude", model, [])["2.weight"].tolist() == [[2, 1], [1, 3]]
    lots = [by_hand("random", model, [])["1.weight"] for _ in range(2)]
    assert np.array_equal(*lots)
    assert len(np.unique(lots[0])) == 4


@pytest.mark.parametrize(
    "values", [{"sparsity": 1.0}, {"sparsity": -0.1}, {"inner_lr": 0.0}, {"rounds": -1}, {"mode": "half"}]
)
def test_invalid_settings_are_refused(values: dict[str, float]) -> None:
    from datapruning.errors import UnknownName

    with pytest.raises((InvalidValue, UnknownName)):
        SparsityConfig(**values)  # type: ignore[arg-type]
