"""A pruned network whose output does not depend on its input is noticed, with the layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from datapruning.models import create_model
from datapruning.training.sparsity.connectivity import find_cut_layer
from datapruning.training.sparsity.prunable import prunable
from tests.conftest import CommandResult, fast_options

SHAPE = (8, 8, 3)


def chain() -> nn.Module:
    """Make three convolutions and a linear layer with norms and ReLUs between them."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for before, after in ((3, 4), (4, 4), (4, 4)):
        parts += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def full(model: nn.Module) -> dict[str, Tensor]:
    """Return masks that keep everything."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}


def test_one_path_is_enough_and_a_missing_link_is_named() -> None:
    model = chain()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    masks = {name: torch.zeros_like(mask) for name, mask in full(model).items()}
    for name, path in (("0.weight", (1, 2)), ("3.weight", (3, 1)), ("6.weight", (0, 3)), ("11.weight", (4, 0))):
        masks[name][path] = True
    assert find_cut_layer(model, masks, SHAPE) is None
    moved = {**masks, "6.weight": torch.roll(masks["6.weight"], 1, 1)}  # it reads a channel that nothing writes
    assert find_cut_layer(model, moved, SHAPE) == "6.weight"
    assert find_cut_layer(model, {**masks, "0.weight": masks["0.weight"] & False}, SHAPE) == "0.weight"
    assert find_cut_layer(model, {**masks, "11.weight": torch.roll(masks["11.weight"], 1, 1)}, SHAPE) == "11.weight"
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items()), "left as it is"


@pytest.mark.parametrize("name", ["tinynet8", "convnet", "resnet8", "fastnet64"])
def test_whole_networks_have_a_path_and_empty_ones_none(name: str) -> None:
    side = 32
    model = create_model(name, (side, side, 3), 5, seed=0)
    masks = full(model)
    assert find_cut_layer(model, masks, (side, side, 3)) is None
    empty = {weight: mask & False for weight, mask in masks.items()}
    assert find_cut_layer(model, empty, (side, side, 3)) in masks


def test_a_command_stops_before_the_student_is_trained(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], tmp_path: Path
) -> None:
    options = [*fast_options(), "--set", "train.model=convnet", "--kd-weight", "0", "--fraction", "0.2"]
    sparse = ("train", "--criterion", "random", "--sparsity")
    line = expect_refusal(*sparse, "0.99999", *options)
    assert "weights, fewer than the" in line
    assert line.endswith("(--sparsity)")
    command = dprune(*sparse, "0.9999", "--out", "run", *options)
    assert command.code == 2, command.err
    line = command.err.splitlines()[-1]
    assert "nothing of the images passes layer '" in line
    assert line.endswith("(--sparsity)")
    assert "training steps" not in command.err
    assert not [path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")]
    again = dprune(*sparse, "0.9", "--out", "run", *options)
    assert again.code == 0, again.err
