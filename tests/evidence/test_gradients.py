"""Gradient norms against float64 autograd, sample by sample."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from datapruning import scorers
from datapruning.evidence.gradient_norms import last_layer_norms, per_sample_norms
from datapruning.evidence.gradients import Gradients
from datapruning.models import create_model
from datapruning.models.features import last_linear, penultimate

MODELS = ["tinynet8", "resnet20"]


def case_of(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Make a network in evaluation mode with running statistics, 5 images and their labels."""
    generator = torch.Generator().manual_seed(0)
    model = create_model(name, (16, 16, 3), 4, 0)
    with torch.no_grad():
        for _ in range(3):
            model.train()(1 + 2 * torch.randn(16, 3, 16, 16, generator=generator))
    images = torch.randn(5, 3, 16, 16, generator=generator)
    return model.eval(), images, torch.tensor([0, 1, 2, 3, 0])


def norms_of(model: nn.Module, images: Tensor, labels: Tensor, weights: list[str] | None = None) -> list[float]:
    """Return the norms in float64, by one backward pass per sample, of the parameters `weights`."""
    model = copy.deepcopy(model).double()
    norms = []
    for image, label in zip(images.double(), labels, strict=True):
        model.zero_grad()
        cross_entropy(model(image[None]), label[None]).backward()  # type: ignore[no-untyped-call]
        squares = [
            float(p.grad.square().sum())
            for name, p in model.named_parameters()
            if p.grad is not None and (weights is None or name in weights)
        ]
        norms.append(sum(squares) ** 0.5)
    return norms


def last_names(model: nn.Module) -> list[str]:
    """Return the parameters of the last layer."""
    last = last_linear(model)
    return [name for name, p in model.named_parameters() if any(p is parameter for parameter in last.parameters())]


@pytest.mark.parametrize("name", MODELS)
def test_full_gradients_against_autograd(name: str) -> None:
    model, images, labels = case_of(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    norms = per_sample_norms(model)(images, labels)
    assert norms.shape == (5,)
    assert not norms.requires_grad
    np.testing.assert_allclose(norms.numpy(), norms_of(model, images, labels), rtol=1e-4)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key  # running means too
    assert all(p.grad is None for p in model.parameters())


def test_a_gradient_does_not_depend_on_other_samples_of_the_batch() -> None:
    model, images, labels = case_of("tinynet8")
    norms = per_sample_norms(model)
    single_norms = torch.cat([norms(images[k : k + 1], labels[k : k + 1]) for k in range(5)])
    np.testing.assert_allclose(norms(images, labels).numpy(), single_norms.numpy(), rtol=1e-4)


def test_frozen_weights_count_not() -> None:
    model, images, labels = case_of("tinynet8")
    kept = last_names(model)
    for name, p in model.named_parameters():
        p.requires_grad_(name in kept)
    norms = per_sample_norms(model)(images, labels)
    np.testing.assert_allclose(norms.numpy(), norms_of(model, images, labels, kept), rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_last_layer_gradients_against_autograd(name: str) -> None:
    model, images, labels = case_of(name)
    with torch.no_grad(), penultimate(model) as features:
        logits = model(images)
        norms = last_layer_norms(logits, labels, features[0], bias=last_linear(model).bias is not None)
    np.testing.assert_allclose(norms.numpy(), norms_of(model, images, labels, last_names(model)), rtol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
def test_last_layer_gradients_with_and_without_bias(bias: bool) -> None:
    torch.manual_seed(0)
    layer, features, labels = nn.Linear(6, 3, bias=bias), torch.randn(4, 6), torch.tensor([0, 1, 2, 1])
    with torch.no_grad():
        norms = last_layer_norms(layer(features), labels, features, bias=bias)
    np.testing.assert_allclose(norms.numpy(), norms_of(layer, features, labels), rtol=1e-5)


def test_last_layer_gradient_by_hand() -> None:
    # p = (1/2, 1/2): the error is (-1/2, 1/2), of length sqrt(1/2); features (3, 4) have length 5
    logits, labels, features = torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[3.0, 4.0]])
    np.testing.assert_allclose(last_layer_norms(logits, labels, features, bias=False).numpy(), [5 * 0.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(last_layer_norms(logits, labels, features, bias=True).numpy(), [13**0.5], rtol=1e-6)


@pytest.mark.parametrize(("name", "which"), [("grand", "all"), ("grand-last", "last")])
def test_scores_are_means_over_runs_with_their_error(name: str, which: str) -> None:
    runs = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 5.0]], np.float32)
    computed = list[str]()

    def compute(what: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        computed.append(what)
        return runs

    values, stderr = scorers.get_scorer(name)(Gradients(compute))
    np.testing.assert_allclose(values, [3, 3])
    assert stderr is not None
    np.testing.assert_allclose(stderr, [2 / 3**0.5, 1.0], rtol=1e-6)  # deviations 2 and sqrt(3)
    assert set(computed) == {which}  # the other one is never paid for
    assert scorers.get_scorer(name)(Gradients(lambda _: runs[:1]))[1] is None
