"""Muon: orthogonal updates of matrices, SGD for the other weights. Lookahead: a plain loop gives the same weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datapruning.config.training import TrainConfig
from datapruning.errors import InvalidValue
from datapruning.models import create_model
from datapruning.models.training_check import check_training
from datapruning.training.lookahead import INTERVAL, Lookahead
from datapruning.training.muon import orthogonalize
from datapruning.training.optimizers import make_optimizer, set_learning_rate

MUON = TrainConfig(optimizer="muon", lr=0.1, sgd_lr=0.02, bias_lr_factor=8.0, momentum=0.9, weight_decay=0.01)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=60)
def test_an_orthogonalized_matrix_has_singular_values_near_one(rows: int, columns: int, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    well_conditioned = left @ torch.diag(values.clamp(min=0.3 * values.max())) @ right
    result = orthogonalize(well_conditioned, iterations=5)
    assert result.shape == matrix.shape
    new_values = torch.linalg.svdvals(result)
    assert new_values.min() > 0.6
    assert new_values.max() < 1.3
    torch.testing.assert_close(
        left.T @ result @ right.T, torch.diag((left.T @ result @ right.T).diagonal()), atol=1e-6, rtol=0
    )


def test_a_step_is_the_orthogonalized_momentum_for_matrices_and_sgd_for_the_rest() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4)).double()
    reference = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4)).double()
    reference.load_state_dict(model.state_dict())
    optimizer = make_optimizer(model, MUON)
    biases, last = [reference[0].bias, reference[2].bias], reference[2].weight
    sgd = torch.optim.SGD(
        [{"params": [last]}, {"params": biases, "lr": 0.02 * 8}], lr=0.02, momentum=0.9, weight_decay=0.01, nesterov=True
    )
    momentum = torch.zeros(8, 27, dtype=torch.float64)
    for step in range(4):
        images, labels = torch.randn(5, 3, 3, 3, dtype=torch.float64), torch.randint(4, (5,))
        for network in (model, reference):
            network.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
        rate = 1 - step / 4
        set_learning_rate(optimizer, 0.1 * rate)
        optimizer.step()
        for group, factor in zip(sgd.param_groups, (1, 8), strict=True):
            group["lr"] = 0.02 * factor * rate
        sgd.step()
        weight = reference[0].weight
        assert weight.grad is not None
        gradient = weight.grad.reshape(8, 27)
        momentum = 0.9 * momentum + gradient
        with torch.no_grad():
            weight.mul_(8**0.5 / (weight.norm() + 1e-7))
            weight.sub_(0.1 * rate * orthogonalize(gradient + 0.9 * momentum).reshape(weight.shape))
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def linear_network(channels: int, classes: int) -> nn.Module:
    """A network of one layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes))


def test_settings_that_do_not_suit_the_network_or_the_images_are_refused() -> None:
    name = f"{__name__}:linear_network"
    with pytest.raises(InvalidValue, match="none beside its last layer"):
        check_training(MUON.replace(model=name), (8, 8, 3), 4)
    with pytest.raises(InvalidValue, match="progressive_size is 9, and the images are 8x8"):
        check_training(MUON.replace(model="fastnet16", progressive_size=9), (8, 8, 3), 4)
    with pytest.raises(InvalidValue, match="does not take images of 4x4"):
        check_training(MUON.replace(model=name, optimizer="sgd", progressive_size=4), (8, 8, 3), 4)
    check_training(MUON.replace(model="fastnet16", progressive_size=8), (12, 12, 3), 4)


def test_muon_leaves_fixed_filters_alone() -> None:
    model = create_model("fastnet16", (16, 16, 3), 4, seed=0)
    before = model.state_dict()["0.weight"].clone()
    optimizer = make_optimizer(model, MUON)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 16, 16)), torch.arange(8) % 4).backward()
    optimizer.step()
    assert torch.equal(model.state_dict()["0.weight"], before)


@pytest.mark.parametrize("step_size", [0.5, 1.0])
def test_lookahead_is_that_of_a_plain_loop(step_size: float) -> None:
    model, plain = nn.ParameterList([torch.tensor([1.0, -2.0])]), torch.tensor([1.0, -2.0])
    (weight,) = model.parameters()
    optimizer, lookahead = torch.optim.SGD([weight], lr=0.1), Lookahead(model, step_size)
    slow = torch.empty(2)
    for step in range(1, 3 * INTERVAL + 1):
        weight.grad = weight.detach() ** 3
        optimizer.step()
        lookahead.update()
        plain = plain - 0.1 * plain**3
        if step == 1:
            slow = plain.clone()
        if step % INTERVAL == 0:
            slow = slow + step_size * (plain - slow)
            plain = slow.clone()
        torch.testing.assert_close(weight.detach(), plain)
