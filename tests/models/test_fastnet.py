"""The fast networks: whitening from the training images, identity at the start, images of every size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, max_pool2d

from datapruning.data.dataset import Dataset
from datapruning.models import create_model
from datapruning.models.fastnet import BiasNorm, Group, WhiteningConv
from datapruning.runs.context import Context
from datapruning.training.data_init import initialize_from_images
from datapruning.training.sparsity.prunable import prunable


def correlated_images(count: int, channels: int) -> torch.Tensor:
    """Smooth images: neighbouring pixels and channels are correlated."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 1, 12, 12, generator=generator) + 0.3 * torch.randn(
        count, channels, 12, 12, generator=generator
    )
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_and_of_one_variance(channels: int) -> None:
    images, layer = correlated_images(300, channels), WhiteningConv(channels)
    layer.whiten([images])
    size = 4 * channels
    outputs = layer(images).detach().double().transpose(0, 1).flatten(1)
    assert torch.allclose(outputs[:size], -outputs[size:], atol=1e-5), "each filter comes with both signs"
    products = outputs[:size] @ outputs[:size].T / outputs.shape[1]
    expected = torch.diag(torch.linalg.eigvalsh(_patch_products(images)))
    torch.testing.assert_close(products, expected / (expected.diagonal() + 5e-4), rtol=1e-3, atol=1e-3)


def _patch_products(images: torch.Tensor) -> torch.Tensor:
    patches = torch.nn.functional.unfold(images.double(), 2).transpose(1, 2).flatten(0, 1)
    return patches.T @ patches / len(patches)


def test_whitening_does_not_depend_on_how_the_images_come_in_batches() -> None:
    images, once, twice = correlated_images(60, 3), WhiteningConv(3), WhiteningConv(3)
    once.whiten([images])
    twice.whiten(images.split(7))
    torch.testing.assert_close(once.weight, twice.weight, rtol=1e-4, atol=1e-5)


def test_convolutions_begin_as_the_identity() -> None:
    group, maps = Group(8, 8).eval(), torch.rand(2, 8, 6, 6)
    expected = gelu(gelu(max_pool2d(maps, 2) / (1 + 1e-5) ** 0.5) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(group(maps), expected)


@pytest.mark.parametrize("width", [16, 32])
def test_random_initialisation_has_no_zeros_and_else_the_same_network(width: int) -> None:
    identity, random = (create_model(f"fastnet{width}{end}", (16, 16, 3), 4, seed=3) for end in ("", "-random-init"))
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in (identity, random)]
    assert shapes[0] == shapes[1]
    weights = [torch.cat([weight.flatten() for weight in prunable(network).values()]) for network in (identity, random)]
    assert (weights[0] == 0).float().mean() > 0.5
    assert not (weights[1] == 0).any()


def test_filters_and_scales_are_neither_trained_nor_pruned() -> None:
    model = create_model("fastnet16", (16, 16, 3), 4, seed=0)
    fixed = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, BiasNorm)}
    assert fixed == {"0.weight", *norms}
    assert "0.weight" not in prunable(model)
    assert "2.conv1.weight" in prunable(model)


def test_the_filters_come_from_the_kept_samples_alone(make_context: Callable[..., Context], small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    kept = np.arange(0, small_dataset.total, 3)
    model, same, other = (create_model("fastnet16", context.shape, 4, seed=0) for _ in range(3))
    initialize_from_images(model, context.loader("train"), kept, context.views)
    layer = same[0]  # type: ignore[index]
    images = context.views.normalise(torch.from_numpy(small_dataset.train.images[kept]))
    assert isinstance(layer, WhiteningConv)
    layer.whiten([images])
    torch.testing.assert_close(model.state_dict()["0.weight"], layer.weight, rtol=1e-4, atol=1e-5)
    initialize_from_images(other, context.loader("train"), kept + 1, context.views)
    assert not torch.allclose(model.state_dict()["0.weight"], other.state_dict()["0.weight"])
