"""Masks by saliency: thresholds, files, and their enforcement during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from datapruning.config.sparsity import SparsityConfig
from datapruning.errors import DataPruningError, IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.models import create_model
from datapruning.training.sparsity import threshold
from datapruning.training.sparsity.criteria import SaliencyInputs, random, synflow
from datapruning.training.sparsity.layer_counts import erdos_renyi_kernel, layer_counts
from datapruning.training.sparsity.masks import MaskEnforcer, Masks, format_count, load_masks
from datapruning.training.sparsity.meta_gradient import SaliencyLoss
from datapruning.training.sparsity.prunable import layer_table, prunable
from datapruning.training.sparsity.threshold import (
    SELECTION_SAMPLE,
    Saliency,
    count_kept,
    keep_largest,
    sparsity_schedule,
    to_masks,
)
from datapruning.utils.cost import ComputeCost
from tests.helpers.results import sparsity_record


def saliency(*layers: list[float]) -> dict[str, Tensor]:
    """Make a layer from each list."""
    return {f"{number}.weight": torch.tensor(layer, dtype=torch.float64) for number, layer in enumerate(layers)}


def keep(scores: Saliency, sparsity: float, scope: str = "global", previous: Masks | None = None) -> tuple[Masks, list[str]]:
    """As `keep_largest`, with masks on the host."""
    kept = {name: torch.from_numpy(mask) for name, mask in previous.tensors.items()} if previous else None
    counts = [count_kept(len(layer), sparsity) for layer in scores.values()] if scope == "layer" else None
    largest, protected = keep_largest(scores, sparsity, kept, counts=counts)
    return to_masks(largest), protected


def keep_by_sorting(scores: Saliency, sparsity: float, scope: str, previous: Masks | None) -> dict[str, list[bool]]:
    """What `keep` is to return, by a stable sort of all saliencies."""
    removed = {name: ~previous.tensors[name] if previous else np.zeros(len(scores[name]), bool) for name in scores}
    values = {name: np.where(removed[name], -np.inf, layer.numpy()) for name, layer in scores.items()}

    def largest(flat: Any, count: int) -> Any:
        kept = np.zeros(len(flat), bool)
        kept[np.argsort(-flat, kind="stable")[:count]] = True
        return kept

    if scope == "layer":
        return {name: largest(layer, count_kept(len(layer), sparsity)).tolist() for name, layer in values.items()}
    total = sum(map(len, values.values()))
    num_kept, cuts = max(count_kept(total, sparsity), len(values)), np.cumsum([*map(len, values.values())])[:-1]
    parts = np.split(largest(np.concatenate([*values.values()]), num_kept), cuts)
    if not all(part.any() for part in parts):
        for layer in values.values():
            layer[layer.argmax()] = np.inf
        parts = np.split(largest(np.concatenate([*values.values()]), num_kept), cuts)
    return {name: part.tolist() for name, part in zip(values, parts, strict=True)}


def test_the_largest_are_kept_and_ties_go_to_the_first() -> None:
    masks, protected = keep(saliency([1, 5, 2], [4, 2, 3]), 0.5)
    assert masks.tensors["0.weight"].tolist() == [False, True, False]
    assert masks.tensors["1.weight"].tolist() == [True, False, True]
    assert protected == []
    masks, _ = keep(saliency([2, 2, 2], [2, 2, 2]), 0.5)
    assert masks.tensors["0.weight"].tolist() == [True, True, False]
    assert masks.tensors["1.weight"].tolist() == [True, False, False]  # its first, protected


def test_a_layer_keeps_a_weight_and_the_count_is_exact() -> None:
    masks, protected = keep(saliency([9, 8, 7, 6], [1, 2, 1.5, 0]), 0.5)
    assert protected == ["1.weight"]
    assert masks.tensors["0.weight"].tolist() == [True, True, True, False]
    assert masks.tensors["1.weight"].tolist() == [False, True, False, False]
    assert keep(saliency([9, 8], [1, 2]), 0.99)[0].kept == 2  # one a layer is the least


def test_a_floor_is_kept_by_every_layer_and_the_count_is_exact() -> None:
    rng = np.random.default_rng(0)
    scores = saliency(*(list(scale * rng.random(100)) for scale in (1, 10, 100)))
    for sparsity in (0.5, 0.8, 0.9):
        for floor in (0.2, 0.5, 1.0):
            copies = {name: values.clone() for name, values in scores.items()}
            largest, _ = keep_largest(copies, sparsity, floor=floor)
            counts = [int(mask.sum()) for mask in largest.values()]
            least = count_kept(100, sparsity)
            assert sum(counts) == count_kept(300, sparsity)
            assert min(counts) >= round(floor * least)
            assert max(counts) - min(counts) <= (0 if floor == 1 else 300)
            assert largest["0.weight"][scores["0.weight"].argsort(descending=True)[: round(floor * least)]].all()


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 64), st.sampled_from([1, 3])), min_size=1, max_size=8))
@settings(max_examples=60)
def test_erdos_renyi_kernel_keeps_the_share_and_more_of_small_layers(layers: list[tuple[int, int, int]]) -> None:
    shapes = [(out, inputs, side, side) for out, inputs, side in layers]
    sizes = np.array([np.prod(shape) for shape in shapes])
    previous = np.ones(len(shapes))
    for sparsity in (0.0, 0.5, 0.9, 0.98):
        densities = np.array(erdos_renyi_kernel(shapes, sparsity))
        assert densities @ sizes == pytest.approx((1 - sparsity) * sizes.sum())
        assert (densities <= 1 + 1e-12).all()
        assert (densities <= previous + 1e-12).all(), "rounds are nested"
        raw = [sum(shape) / np.prod(shape) for shape in shapes]
        order = np.argsort(raw)
        assert (np.diff(densities[order]) >= -1e-12).all()
        previous = densities


@pytest.mark.parametrize("scope", ["layer", "erk", "synflow"])
def test_layers_keep_their_counts_in_any_number_of_rounds(scope: Literal["layer", "erk", "synflow"]) -> None:
    model = create_model("tinynet8", (8, 8, 1), 10, seed=0)
    config = SparsityConfig(sparsity=0.9, criterion="random", scope=scope)
    inputs = SaliencyInputs(model, config, SaliencyLoss(), [], [], (1, 8, 8), 0)
    sizes = [weight.numel() for weight in prunable(model).values()]
    (at_once,) = layer_counts(inputs, 1)
    kept = None
    for sparsity, counts in zip(sparsity_schedule(0.9, 4), layer_counts(inputs, 4), strict=True):
        largest, _ = keep_largest(random(inputs), sparsity, kept, counts=counts)
        assert [int(mask.sum()) for mask in largest.values()] == counts
        assert kept is None or all((largest[name] <= kept[name]).all() for name in kept)
        kept = largest
    assert counts == at_once
    assert at_once is not None
    assert sum(at_once) == pytest.approx(0.1 * sum(sizes), abs=len(sizes))
    densities = np.array(at_once) / sizes
    assert densities.std() < 0.02 if scope == "layer" else densities.max() > 3 * densities.min()


def test_the_scope_synflow_keeps_of_each_layer_what_synflow_keeps() -> None:
    model = create_model("tinynet8", (8, 8, 1), 10, seed=0)
    config = SparsityConfig(sparsity=0.9, criterion="random", scope="synflow")
    inputs = SaliencyInputs(model, config, SaliencyLoss(), [], [], (1, 8, 8), 0)
    kept = None
    for sparsity in sparsity_schedule(0.9, 100):
        kept, _ = keep_largest(synflow(inputs._replace(masks=kept)), sparsity, kept)
    assert kept is not None
    assert layer_counts(inputs, 5)[-1] == [int(mask.sum()) for mask in kept.values()]


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=30), min_size=1, max_size=4),
    st.floats(0.05, 0.95), st.floats(0.05, 0.95),
)  # fmt: skip
def test_counts_are_exact_and_rounds_are_nested(layers: list[list[float]], one: float, other: float) -> None:
    scores, (less, more) = saliency(*layers), sorted((one, other))
    total = sum(map(len, layers))
    first, _ = keep(scores, less)
    second, _ = keep(scores, more, previous=first)
    for masks, removed in ((first, less), (second, more)):
        assert masks.kept == max(count_kept(total, removed), len(layers))
    assert all((first.tensors[name] | ~second.tensors[name]).all() for name in scores)


@settings(max_examples=80)
@given(
    st.lists(st.lists(st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, 3.0]), min_size=1, max_size=40), min_size=1, max_size=4),
    st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.sampled_from(["global", "layer"]),
)  # fmt: skip
def test_selecting_keeps_what_a_stable_sort_keeps(layers: list[list[float]], one: float, other: float, scope: str) -> None:
    """Most values are ties."""
    scores, previous = saliency(*layers), None
    for sparsity in sorted((one, other)):
        expected = keep_by_sorting(scores, sparsity, scope, previous)
        previous, _ = keep(scores, sparsity, scope, previous)
        assert {name: mask.tolist() for name, mask in previous.tensors.items()} == expected


@pytest.mark.parametrize("sample", [1024, SELECTION_SAMPLE])
@pytest.mark.parametrize(
    "kind", ["distinct", "mostly removed", "mostly zero", "two values", "one value", "rising", "signed", "forced"]
)
def test_a_large_layer_is_selected_from_as_by_sorting(monkeypatch: pytest.MonkeyPatch, kind: str, sample: int) -> None:
    """The bounds that a sample gives may be values that many weights share, or miss: the result is the same."""
    monkeypatch.setattr(threshold, "SELECTION_SAMPLE", sample)
    rng, count = np.random.default_rng(0), 300_000
    values = rng.random(count)
    if kind in ("mostly removed", "mostly zero"):
        values[rng.random(count) < 0.9] = 0.0 if kind == "mostly zero" else -np.inf
    elif kind in ("two values", "one value"):
        values = (values < 0.3).astype(float) if kind == "two values" else np.ones(count)
    elif kind == "rising":
        values = np.arange(count, dtype=float)
    elif kind == "signed":
        values = rng.standard_normal(count) ** 5
    elif kind == "forced":
        values[rng.random(count) < 0.5] = np.inf
    ordered = np.sort(values)
    for num_kept in (1, 2, 15_000, 30_000, 90_000, 150_000, 285_000, count - 1, count):
        assert threshold.select_largest(values, num_kept) == ordered[count - num_kept], (kind, num_kept)


def test_rounds_end_at_the_requested_sparsity() -> None:
    fractions = sparsity_schedule(0.99, 100)
    assert fractions[-1] == pytest.approx(0.99)
    kept = [1 - share for share in fractions]
    assert np.allclose(np.diff(np.log(kept)), np.log(0.01) / 100)
    assert sparsity_schedule(0.5, 1) == [0.5]


def test_a_non_finite_saliency_is_refused() -> None:
    with pytest.raises(DataPruningError, match=r"'0.weight' is not finite"):
        keep(saliency([1, np.nan]), 0.5)


def some_masks(model: nn.Module, seed: int = 0) -> Masks:
    """Make masks of a random half of the weights."""
    random = np.random.default_rng(seed)
    return Masks({name: random.random(tuple(w.shape)) < 0.5 for name, w in prunable(model).items()})


def test_masks_survive_the_disk(tmp_path: Path) -> None:
    masks = some_masks(create_model("tinynet8", (8, 8, 1), 10, 0))
    masks.save(tmp_path / "masks.npz", sparsity_record(), ComputeCost(3, 0, 0.5))
    loaded, metadata = load_masks(tmp_path / "masks.npz")
    assert loaded.digest == masks.digest
    assert loaded.kept_by_layer == masks.kept_by_layer
    assert (metadata.sparsity, metadata.cost) == (sparsity_record(), ComputeCost(3, 0, 0.5))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InvalidFile):
        load_masks(tmp_path / "other.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "masks.npz").read_bytes()[:300])
    with pytest.raises(InvalidFile):
        load_masks(tmp_path / "half.npz")


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_removed_weights_stay_exactly_zero_after_every_step(precision: torch.dtype, kind: str) -> None:
    model = create_model("tinynet8", (8, 8, 1), 10, 0).to(precision)
    masks = some_masks(model)
    enforcer = MaskEnforcer(masks, model)
    parameters = model.parameters()
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(parameters, 0.1, 0.9, weight_decay=0.1, nesterov=True)
        if kind == "sgd"
        else torch.optim.AdamW(parameters, 0.01, weight_decay=0.1)
    )
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(precision)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images).float(), torch.arange(16) % 10).backward()  # type: ignore[no-untyped-call]
        enforcer.before_update()
        optimizer.step()
        for name, weight in prunable(model).items():
            assert (weight.detach()[torch.from_numpy(~masks.tensors[name])] == 0).all()
    moved = [name for name, w in prunable(model).items() if (w.detach()[torch.from_numpy(masks.tensors[name])] != 0).all()]
    assert moved == list(prunable(model))


def test_masks_of_another_model_are_refused() -> None:
    masks = some_masks(create_model("tinynet8", (8, 8, 1), 10, 0))
    with pytest.raises(IncompatibleInputs, match="belong to another model: weight"):
        MaskEnforcer(masks, create_model("tinynet16", (8, 8, 1), 10, 0))
    model = create_model("tinynet8", (8, 8, 1), 10, 0)
    enforcer, other = MaskEnforcer(masks, model), MaskEnforcer(some_masks(model, 1), model)
    enforcer.restore(enforcer.tensors())
    with pytest.raises(IncompatibleInputs, match="other masks"):
        enforcer.restore(other.tensors())


def test_a_model_without_prunable_weights_is_refused() -> None:
    with pytest.raises(InvalidValue, match="nothing to prune"):
        prunable(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)))


def test_flops_count_every_use_of_a_weight() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 5))
    conv, linear = layer_table(model, {"0.weight": 9, "2.weight": 10}, (4, 4, 1))
    assert (conv.total, conv.positions, conv.flops) == (18, 16, (576, 288))
    assert (linear.total, linear.positions, linear.flops) == (160, 1, (320, 20))
    assert model.training


@pytest.mark.parametrize(
    ("count", "arguments"), [(560, "560"), (61_234, "61.2 k"), (11_200_000, "11.2 M"), (9_999, "9,999")]
)
def test_amounts(count: int, arguments: str) -> None:
    assert format_count(count) == arguments
