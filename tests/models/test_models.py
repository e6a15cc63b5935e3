"""Networks by name: shapes, seeds, and the sizes known from the literature."""

from __future__ import annotations

import pytest
import torch

from datapruning.errors import UnknownName
from datapruning.models import MODELS, check_model, create_model, parameter_count

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3)]
HEAVY = ("resnet110", "resnet34", "resnet50", "wrn-28-10")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [name for name in MODELS if name not in HEAVY])
def test_a_batch_is_serialized(name: str, shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    model = create_model(name, shape, classes=7, seed=0)
    assert model.training
    images = torch.ones(2, channels, height, width).contiguous(memory_format=torch.channels_last)
    logits = model(images)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "channels", "classes", "low", "high"),
    [
        ("resnet20", 3, 10, 270_000, 280_000),  # He et al. 2016, table 6: 0.27 M
        ("resnet32", 3, 10, 460_000, 470_000),  # 0.46 M
        ("resnet44", 3, 10, 655_000, 665_000),  # 0.66 M
        ("resnet56", 3, 10, 850_000, 860_000),  # 0.85 M
        ("resnet110", 3, 10, 1_725_000, 1_735_000),  # 1.7 M
        ("resnet18", 3, 100, 11_215_000, 11_225_000),  # 11.22 M with the CIFAR stem
        ("resnet18", 3, 10, 11_170_000, 11_175_000),  # 11.17 M
        ("convnet", 1, 10, 90_000, 100_000),
        ("resnet34", 3, 10, 21_280_000, 21_285_000),  # with the CIFAR stem
        ("resnet50", 3, 10, 23_520_000, 23_525_000),
        ("wrn-16-2", 3, 10, 690_000, 700_000),  # Zagoruyko and Komodakis 2016: 0.7 M
        ("wrn-40-2", 3, 10, 2_240_000, 2_250_000),  # 2.2 M
        ("wrn-28-10", 3, 10, 36_470_000, 36_490_000),  # table 4: 36.5 M
        ("vgg16-bn", 3, 10, 14_715_000, 14_730_000),  # 14.7 M in 13 convolutions
    ],
)
def test_sizes_are_those_of_the_literature(name: str, channels: int, classes: int, low: int, high: int) -> None:
    assert low <= parameter_count(create_model(name, (32, 32, channels), classes, seed=0)) < high


@pytest.mark.parametrize("name", HEAVY)
def test_a_small_batch_trains_a_large_network(name: str) -> None:
    logits = create_model(name, (8, 8, 1), classes=7, seed=0)(torch.ones(2, 1, 8, 8))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def weights(name: str, seed: int) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in create_model(name, (8, 8, 1), 10, seed).parameters()])


@pytest.mark.parametrize("name", ["convnet", "resnet20", "resnet18"])
def test_the_seed_decides_the_initialisation(name: str) -> None:
    first = weights(name, 3)
    torch.rand(5)
    assert torch.equal(weights(name, 3), first)
    assert not torch.equal(weights(name, 4), first)


@pytest.mark.parametrize("name", ["convnet", "resnet20"])
def test_the_random_state_of_torch_stays_untouched(name: str) -> None:
    before = torch.random.get_rng_state()
    create_model(name, (8, 8, 1), 10, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_are_channels_last() -> None:
    model = create_model("resnet20", (32, 32, 3), 10, seed=0)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in model.parameters() if p.ndim == 4)


def test_evaluation_does_not_depend_on_the_rest_of_the_batch() -> None:
    """No layer mixes samples once the batch statistics are frozen."""
    model = create_model("resnet20", (8, 8, 1), 10, seed=0).eval()
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    others = images.clone()
    others[1:] = 0
    with torch.inference_mode():
        assert torch.equal(model(images)[0], model(others)[0])


def test_frozen_weights_are_not_counted() -> None:
    model = create_model("convnet", (8, 8, 1), 10, seed=0)
    count = parameter_count(model)
    first = next(model.parameters())
    first.requires_grad_(False)
    assert parameter_count(model) == count - first.numel()


@pytest.mark.parametrize(("typed", "near"), [("resnet-18", "resnet18"), ("covnet", "convnet"), ("ResNet20", "resnet20")])
def test_an_unknown_name_brings_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown model '{typed}': did you mean '{near}'"):
        check_model(typed)
    with pytest.raises(UnknownName, match="known: convnet"):
        create_model(typed, (8, 8, 1), 10, seed=0)
