"""Precision and algorithms: what a training is computed in, and that everything is put back afterwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import datapruning as dp
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.models.features import penultimate
from datapruning.runs.context import Context
from datapruning.training.reproducibility import autocast, compiled, fp32_logits, reproducible, resolve_precision

CPU = torch.device("cpu")


def network() -> nn.Module:
    """Two linear layers; the logits of its random inputs are no bf16 numbers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def is_bf16(values: Tensor) -> bool:
    """Whether bf16 holds all values."""
    return bool((values == values.bfloat16().float()).all())


def test_the_logits_of_a_bf16_training_are_fp32() -> None:
    model, images = network(), torch.randn(8, 6)
    with autocast("bf16", CPU):
        assert is_bf16(model(images).float())
        with fp32_logits(model, "bf16"), penultimate(model) as features:
            logits = model(images)
    assert logits.dtype == torch.float32
    assert not is_bf16(logits)
    layer = model[2]
    assert torch.equal(logits, nn.functional.linear(features[0].float(), layer.weight, layer.bias))
    assert "forward" not in vars(layer)


def test_an_fp32_training_is_left_as_it_is() -> None:
    model = network()
    with fp32_logits(model, "auto"):
        assert "forward" not in vars(model[2])
    with fp32_logits(nn.Conv2d(3, 2, 1), "bf16"):
        pass  # no linear layer


def test_what_is_recorded_of_a_bf16_training_has_no_ties_of_bf16(
    make_context: Callable[..., Context], small_dataset: Dataset
) -> None:
    context = make_context(small_dataset, "proxy.precision=bf16", "proxy.model=tinynet8", "proxy.epochs=2")
    margins = dp.score(context, "aum").values
    assert not is_bf16(torch.from_numpy(margins))


def test_auto_is_bf16_on_a_gpu_alone() -> None:
    assert resolve_precision("auto", torch.device("cuda")) == resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("auto", CPU) == resolve_precision("fp32", torch.device("cuda")) == "fp32"


@pytest.mark.parametrize(("precision", "tf32"), [("auto", True), ("bf16", True), ("fp32", False)])
def test_fp32_is_not_rounded_to_tf32(precision: str, tf32: bool) -> None:
    before = torch.backends.cudnn.allow_tf32
    with reproducible(1, TrainConfig(precision=precision)):
        assert torch.backends.cudnn.allow_tf32 == tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_deterministic_covers_attention_and_is_put_back() -> None:
    with reproducible(1, TrainConfig(deterministic=True)):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
        query = torch.randn(2, 4, 8, requires_grad=True)
        scaled_dot_product_attention(query, query, query).sum().backward()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
    with reproducible(1, TrainConfig()):
        assert not torch.are_deterministic_algorithms_enabled()


def test_every_table_inherits_deterministic(make_context: Callable[..., Context], small_dataset: Dataset) -> None:
    recipe = make_context(small_dataset, "train.deterministic=true").recipe
    assert recipe.train.deterministic
    assert recipe.teacher.deterministic
    assert recipe.proxy.deterministic
    assert recipe.ensemble_member.deterministic


def test_more_shapes_are_compiled_than_torch_would_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def count_graphs(graph: nn.Module, _: list[Tensor]) -> nn.Module:
        calls.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count_graphs))
    forward = compiled(network())
    for size in range(2, 14):
        forward(torch.randn(size, 6))
    assert len(calls) == 12, "torch's own limit is 8, after which it runs the network uncompiled"
