"""Floating-point operations of networks: hand-calculated and published numbers, and what a count leaves alone."""

import pytest
import torch
from torch import Tensor, nn

from datapruning.models import MODELS, create_model
from datapruning.models.flops import evaluation_cost, forward_flops, layer_flops, network_flops
from datapruning.models.normalization import with_training_normalization
from datapruning.utils.cost import NO_COST, ComputeCost, passes_flops

CIFAR_TRAIN = 50_000
PFLOP = 10**15


class Attention(nn.Module):
    """One head over the rows of an image, and a classifier."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """[n, 1, rows, width] -> [n, classes]."""
        query, key, value = self.project(images.squeeze(1)).chunk(3, -1)
        mixed: Tensor = nn.functional.scaled_dot_product_attention(query, key, value)
        logits: Tensor = self.head(mixed.mean(1))
        return logits


def reads_numbers(channels: int, classes: int) -> nn.Module:
    """A network whose forward pass depends on a number, which no network on the meta device has."""

    class Scaled(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            scale = 2.0 if self.weight.sum().item() > 1e9 else 1.0
            return super().forward(images.flatten(1)) * scale

    return Scaled(channels * 64, classes)


def test_convolutions_matrices_and_attention_are_counted() -> None:
    convolutions = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4),
        nn.Flatten(), nn.Linear(8 * 8 * 8, 5),
    )  # fmt: skip
    first, grouped, last = 2 * 16 * 16 * 8 * 3 * 9, 2 * 8 * 8 * 8 * 2 * 9, 2 * 512 * 5
    assert layer_flops(convolutions, (16, 16, 3)) == {"0": first, "3": grouped, "5": last, "": first + grouped + last}
    rows, width = 6, 4
    projection, attention = 2 * rows * width * 3 * width, 2 * 2 * rows * rows * width
    assert layer_flops(Attention(width, 3), (rows, width, 1))[""] == projection + attention + 2 * width * 3


def test_a_layer_that_is_used_twice_counts_twice() -> None:
    layer = nn.Linear(16, 16)
    assert layer_flops(nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer), (4, 4, 1))[""] == 2 * (2 * 16 * 16)


@pytest.mark.parametrize(
    ("name", "epochs", "classes", "pflop"),
    [("fastnet32", 8, 10, 0.041), ("fastnet64", 11, 10, 0.18), ("resnet18", 200, 100, 33)],
)
def test_trainings_on_cifar_cost_what_is_published(name: str, epochs: int, classes: int, pflop: float) -> None:
    """Jordan 2024, section 5, and the figure for He et al.'s network with a stem for CIFAR."""
    training = passes_flops(forward_flops(name, (32, 32, 3), classes), epochs * CIFAR_TRAIN)
    assert training / PFLOP == pytest.approx(pflop, rel=0.02)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"wrn-28-10", "resnet110"}))
def test_the_meta_device_and_the_cpu_count_alike(name: str) -> None:
    model = create_model(name, (16, 16, 3), 7, seed=0)
    counted = layer_flops(model, (16, 16, 3))[""]
    assert counted == forward_flops(name, (16, 16, 3), 7) == network_flops(model) > 0


def test_a_network_that_needs_numbers_is_counted_on_the_cpu() -> None:
    assert forward_flops(f"{__name__}:reads_numbers", (8, 8, 3), 10) == 2 * 192 * 10


def test_a_smaller_image_costs_less_and_a_wrapper_nothing() -> None:
    model = create_model("fastnet16", (32, 32, 3), 10, seed=0)
    assert network_flops(model, 16) == forward_flops("fastnet16", (16, 16, 3), 10) < network_flops(model) / 3.5
    other = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    wrapped = with_training_normalization(model, other, ((0.4, 0.4, 0.4), (0.3, 0.3, 0.3)))
    assert wrapped is not model
    assert network_flops(wrapped) == network_flops(model)


def test_counting_leaves_a_network_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 2))
    model[1].eval()
    before, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    layer_flops(model, (8, 8, 1))
    assert [module.training for module in model] == [True, False, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


def test_costs_add_up_and_what_is_not_known_stays_so() -> None:
    cost, other = ComputeCost(3, 4, 0.5, 130), ComputeCost(1, 0, 1.0, 30)
    assert cost + other == ComputeCost(4, 4, 1.5, 160)
    assert cost + NO_COST == cost
    assert (cost + ComputeCost(7)).flops is None
    assert passes_flops(10, 3, 4) == passes_flops(10, 3) + passes_flops(10, 0, 4) == 130
    model = create_model("tinynet8", (8, 8, 1), 3, seed=0)
    assert evaluation_cost(model, 5, 2.0) == ComputeCost(0, 5, 2.0, 5 * forward_flops("tinynet8", (8, 8, 1), 3))
