"""Embeddings: the input of the last layer, stored as float16, and errors where that fails."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from datapruning import scorers
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, MissingPackage
from datapruning.evidence.embeddings import to_features
from datapruning.evidence.gradient_norms import gradient_norms
from datapruning.models import MODELS, create_model
from datapruning.models.features import last_linear, penultimate
from datapruning.runs.context import Context
from tests.helpers.evidence_cases import class_clusters, make_embeddings


@pytest.mark.parametrize("name", ["convnet", "tinynet8", "resnet20", "resnet18"])
def test_features_times_the_last_weights_are_the_logits(name: str) -> None:
    assert name in MODELS
    model = create_model(name, (16, 16, 3), 5, 0).eval()
    last = last_linear(model)
    assert last.out_features == 5
    with torch.inference_mode(), penultimate(model) as features:
        first = model(torch.randn(3, 3, 16, 16))
        logits = model(torch.randn(2, 3, 16, 16))
        torch.testing.assert_close(nn.functional.linear(features[0], last.weight, last.bias), logits)
    assert len(first) == 3
    with torch.inference_mode():
        model(torch.randn(1, 3, 16, 16))
    assert len(features[0]) == 2, "nothing is held once the block is left"


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(InvalidValue, match="last linear layer, and this one has none"):
        last_linear(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def test_the_hook_is_removed_after_an_exception() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with pytest.raises(RuntimeError), penultimate(model):
        model(torch.zeros(1, 9))
    assert not last_linear(model)._forward_pre_hooks


def test_features_are_stored_as_float16_or_refused() -> None:
    features = to_features(torch.tensor([[1 / 3, 65504.0]], requires_grad=True), np.array([4]))
    assert features.dtype == np.float16
    np.testing.assert_array_equal(features, np.array([[1 / 3, 65504]], np.float16))
    for bad in (torch.inf, torch.nan, 1e5):
        with pytest.raises(
            InvalidValue, match=r"the features of 1 samples are .* the first is sample id 9; scale them down"
        ):
            to_features(torch.tensor([[0.0], [bad]]), np.array([4, 9]))


def test_orders_within_classes_become_scores() -> None:
    embeddings = make_embeddings([[3], [1], [2], [9], [8]], [1, 1, 1, 0, 0])
    scores = embeddings.rank_within_class(lambda features: np.argsort(features[:, 0]))
    np.testing.assert_allclose(scores, [1 / 3, 1, 2 / 3, 1 / 2, 1])


@pytest.mark.parametrize("name", ["herding", "k-center"])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_the_top_is_the_same_fraction_of_every_class(name: str, fraction: float) -> None:
    embeddings = class_clusters(120)
    values, _ = scorers.get_scorer(name)(embeddings)
    top = np.argsort(-values, kind="stable")[: round(fraction * 120)]
    counts = np.bincount(embeddings.labels[top], minlength=3)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", ["knn", "duplicates", "prototypicality"])
def test_a_missing_faiss_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackage, match="pip install faiss-cpu"):
        scorers.get_scorer(name)(class_clusters(20))


def test_chunks_of_gradients_of_any_size_are_the_same(
    make_context: Callable[..., Context], small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(small_dataset)
    model = context.new_model("tinynet8", 0)
    norms_by_chunk = {}
    for memory in (1, 1 << 14, 1 << 28):  # one sample at a time, some, all
        monkeypatch.setattr("datapruning.evidence.gradient_norms.MAX_GRADIENT_NUMBERS", memory)
        norms_by_chunk[memory] = gradient_norms(context, model, "all", "gradients")
    for norms in norms_by_chunk.values():
        assert norms.shape == (120,)
        np.testing.assert_allclose(norms, norms_by_chunk[1], rtol=1e-4)
    last = gradient_norms(context, model, "last", "gradients")
    assert (last < norms_by_chunk[1]).all()
    assert last.min() > 0
