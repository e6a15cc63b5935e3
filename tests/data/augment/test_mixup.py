"""mixup views: pure functions of (view seed, view number, sample id, kept ids), the weighted mean of two kept samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datapruning import teach, train
from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.config.recipe import Recipe
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.augment.mixing import Mixing, beta_quantiles, mixing_lambda
from datapruning.data.dataset import Dataset, Split
from datapruning.data.loaders.split_loaders import InMemoryLoader
from datapruning.errors import InvalidValue
from datapruning.io.json import read_json
from datapruning.runs.context import Context
from datapruning.teachers.load import load_teacher
from datapruning.teachers.soft_labels import SoftLabelCache
from datapruning.training.evaluate import batch_logits

COUNT = 90
KEPT = np.arange(0, COUNT, 3)
POLICY = AugmentPolicy(crop=2, num_views=4, seed=5)
MakeContext = Callable[..., Context]


def split_of(height: int = 7, width: int = 9) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (COUNT, height, width, 2)).astype(np.uint8), rng.integers(0, 5, COUNT))


def loader_of(device: str = "cpu") -> InMemoryLoader:
    return InMemoryLoader(split_of(), torch.device(device))


def views_of(prob: float, alpha: float = 1.0, cutmix: float = 0.0, kept: Any = KEPT) -> Augmentation:
    views = Augmentation(POLICY, (120.7, 99.9), (61.1, 70.0))
    return views.for_subset(kept, CutMixPolicy(prob=cutmix), MixupPolicy(prob=prob, alpha=alpha))


@settings(max_examples=60)
@given(
    st.sampled_from([(0.0, 0.5), (0.5, 0.5), (0.3, 0.2), (0.0, 1.0)]), st.sampled_from([0.2, 1.0, 3.0]), st.integers(0, 6),
    st.lists(st.sampled_from(KEPT.tolist()), min_size=1, max_size=40),
)  # fmt: skip
def test_mixed_views_equal_the_slow_reference(probs: tuple[float, float], alpha: float, epoch: int, ids: list[int]) -> None:
    views, loader = views_of(probs[1], alpha, probs[0]), loader_of()
    mixing = views.mixing
    assert mixing is not None
    batch, augmented = next(views.read(loader, [np.array(ids)], epoch))
    assert batch.mixed is not None
    full = next(loader.read([np.arange(COUNT)]))
    unmixed = views.apply(full.images, full.ids, epoch)
    for row, sample in enumerate(ids):
        params = mixing.sample_params(np.array([sample]), views.view_index(epoch))
        expected, other, lam = unmixed[sample].clone(), int(full.labels[sample]), 1.0
        if params.mixed[0]:
            partner = int(params.partners[0])
            assert partner in KEPT
            other = int(full.labels[partner])
            top, bottom, left, right = params.boxes(7, 9)[0].tolist()
            covered = (bottom - top) * (right - left)
            assert params.weight[0] == 1 or covered == 0, "one method or the other"
            lam = float(params.weight[0]) * (1 - covered / 63)
            expected[:, top:bottom, left:right] = unmixed[partner][:, top:bottom, left:right]
            if not covered:
                own_weight, other_weight = torch.tensor([lam, 1 - lam])
                expected = own_weight * expected + other_weight * unmixed[partner]
        assert torch.equal(augmented[row], expected)
        assert int(batch.mixed.targets_b[row]) == other
        assert float(batch.mixed.lam[row]) == pytest.approx(lam)


def test_a_view_does_not_depend_on_the_batch() -> None:
    views = views_of(0.6, cutmix=0.3)
    together = next(views.read(loader_of(), [KEPT], 1))[1]
    parts = list(views.read(loader_of(), [KEPT[:7], KEPT[7:8], KEPT[8:]], 1))
    assert torch.equal(together, torch.cat([images for _, images in parts]))
    assert not torch.equal(together, next(views.read(loader_of(), [KEPT], 2))[1])
    assert torch.equal(together, next(views.read(loader_of(), [KEPT], 5))[1])


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 8.0])
def test_weights_are_beta_distributed_and_partners_uniform(alpha: float) -> None:
    ids, kept = np.arange(50_000), np.arange(1000)
    params = Mixing(CutMixPolicy(prob=0.2), MixupPolicy(prob=0.5, alpha=alpha), 3, kept).sample_params(ids, 2)
    by_mixup = params.mixed & (params.side == 0)
    assert by_mixup.mean() == pytest.approx(0.5, abs=0.01)
    assert params.mixed.mean() == pytest.approx(0.7, abs=0.01)
    assert (params.weight[~by_mixup] == 1).all()
    weights = params.weight[by_mixup]
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).statistic < (0.01 if alpha >= 0.4 else 0.2)  # 0 and 1 repeat
    assert weights.mean() == pytest.approx(0.5, abs=0.01)
    assert weights.std() == pytest.approx(stats.beta(alpha, alpha).std(), abs=0.01)
    assert np.bincount(params.partners[by_mixup], minlength=1000).min() > 5
    assert abs(np.corrcoef(weights, params.partners[by_mixup])[0, 1]) < 0.02


def test_cutmix_draws_the_same_boxes_with_mixup_beside_it() -> None:
    ids = np.arange(1000)
    without, beside = (
        Mixing(CutMixPolicy(prob=0.4), MixupPolicy(prob=prob), 7, ids).sample_params(ids, 3) for prob in (0.0, 0.6)
    )
    assert beside.mixed.all()
    assert np.array_equal(without.partners, beside.partners)
    assert np.array_equal(without.boxes(28, 32)[without.mixed], beside.boxes(28, 32)[without.mixed])
    assert np.array_equal(beside.weight < 1, ~without.mixed), "all others by mixup"


def test_draws_are_pinned() -> None:
    """Changing these numbers would invalidate existing soft-label caches."""
    mixing, ids = Mixing(CutMixPolicy(), MixupPolicy(prob=0.5, alpha=0.4), 7, np.arange(0, 1000, 7)), np.arange(4)
    params = mixing.sample_params(ids, 3)
    assert params.partners.tolist() == [651, 322, 175, 546]
    assert (params.weight * 2**16).tolist() == [3475.5, 6304.5, 62700.5, 1797.5]
    assert mixing_lambda(params.slice(0, 4), 28, 32).tolist() == params.weight.tolist()


def test_quantiles_are_symmetric_and_exact_in_float32() -> None:
    for alpha in (0.05, 1.0, 20.0):
        quantiles = beta_quantiles(alpha)
        assert np.array_equal(quantiles, quantiles.astype(np.float32))
        assert np.array_equal(1 - quantiles, quantiles[::-1])
        assert quantiles.min() > 0
        assert (np.diff(quantiles) >= 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prob": 1.5}, r"prob lies in 0..1"),
        ({"prob": 0.5, "alpha": 0.0}, r"alpha lies in 0.01..100"),
        ({"prob": 0.5, "alpha": float("nan")}, r"alpha lies in 0.01..100"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        MixupPolicy(**changes)


def test_a_sample_is_mixed_once(dprune: Callable[..., Any]) -> None:
    recipe = Recipe(name="r").with_settings("cutmix", prob=0.3).with_settings("mixup", prob=0.7)
    for table in ("cutmix", "mixup"):
        with pytest.raises(InvalidValue, match=r"^mixup.prob and cutmix.prob add up to 1 at most"):
            recipe.with_settings(table, prob=0.8)
    sets = (option for key in ("cutmix", "mixup") for option in ("--set", f"{key}.prob=0.6"))
    command = dprune("train", "--fraction", "0.5", "--kd-weight", "0", *sets)
    assert command.code == 2
    assert "mixup.prob and cutmix.prob add up to 1 at most" in command.err
    assert command.err.strip().count("\n") == 0


def test_soft_labels_of_mixed_views_belong_to_the_mixed_image_and_one_subset(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    def context_with(*changes: str) -> Context:
        return make_context(small_dataset, "views.num_views=2", "teacher.epochs=1", *changes)

    context = context_with("mixup.prob=0.8")
    teacher, kept = load_teacher(teach(context).folder, small_dataset, context.device), np.arange(0, 120, 2)

    def cache_of(views: Augmentation) -> SoftLabelCache:
        return SoftLabelCache(teacher, views, small_dataset.fingerprint, small_dataset.total, small_dataset.classes)

    views = context.for_subset(kept).views
    cache = cache_of(views)
    others = [context.views, context.for_subset(np.arange(0, 120, 3)).views]
    others += [context_with(*c).for_subset(kept).views for c in (["cutmix.prob=0.8"], ["mixup.prob=0.8", "mixup.alpha=0.5"])]
    assert len({cache.folder, *(cache_of(other).folder for other in others)}) == 5
    assert "mixup" not in read_json(cache_of(context.views).folder / "manifest.json")
    assert "cutmix" not in read_json(cache.folder / "manifest.json")
    cache.fill(context.loader("train"), kept, range(2))
    for epoch in (0, 1):
        batch, logits = next(batch_logits(teacher.model, context.loader("train"), [kept], views, epoch=epoch))
        assert torch.allclose(cache[batch.ids, epoch], logits, atol=2e-2)


def test_a_student_with_mixup_is_reproducible_and_shares_its_teacher(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    unmixed = train(make_context(small_dataset), fraction=0.5, kd_weight=0.9)
    mixed = train(make_context(small_dataset, "mixup.prob=1.0"), fraction=0.5, kd_weight=0.9)
    assert mixed.result.teacher == unmixed.result.teacher
    assert mixed.result.soft_labels_computed > 0
    repeated = train(
        make_context(small_dataset, "mixup.prob=1.0"), fraction=0.5, kd_weight=0.9, out=mixed.folder.parent / "again"
    )
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (mixed, repeated, unmixed)]
    assert weights[0] == weights[1] != weights[2]
    assert "[mixup]\nprob = 1.0" in (mixed.folder / "config.toml").read_text()
    assert "[mixup]" not in (unmixed.folder / "config.toml").read_text()


def test_the_torch_operations_do_not_need_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    views = views_of(0.5, cutmix=0.5)
    by_kernel = next(views.read(loader_of(), [KEPT], 2))[1]
    for module in ("augmentation", "mixing"):
        monkeypatch.setattr(f"datapruning.data.augment.{module}.compiled", lambda kernel: None)
    assert torch.equal(next(views.read(loader_of(), [KEPT], 2))[1], by_kernel)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_bits() -> None:
    views = views_of(0.5, cutmix=0.5)
    on_cpu, on_gpu = (next(views.read(loader_of(device), [KEPT], 2))[1].cpu() for device in ("cpu", "cuda"))
    assert torch.equal(on_cpu, on_gpu)
