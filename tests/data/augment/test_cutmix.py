"""CutMix views: pure functions of (view seed, view number, sample id, kept ids), with a box of a kept partner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, softmax

from datapruning import teach, train
from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.augment.mixing import Mixing, mixing_lambda
from datapruning.data.dataset import Dataset, Split
from datapruning.data.loaders.loader import Batch, MixedLabels
from datapruning.data.loaders.split_loaders import InMemoryLoader
from datapruning.errors import InvalidValue
from datapruning.io.json import read_json
from datapruning.runs.context import Context
from datapruning.teachers.load import load_teacher
from datapruning.teachers.soft_labels import SoftLabelCache
from datapruning.training.evaluate import batch_logits
from datapruning.training.losses import CrossEntropy, DistillationLoss, label_confidence

COUNT = 90
KEPT = np.arange(0, COUNT, 3)
POLICY = AugmentPolicy(crop=2, num_views=4, seed=5)
MakeContext = Callable[..., Context]


def loader_of(height: int = 7, width: int = 9, channels: int = 2) -> InMemoryLoader:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, height, width, channels)).astype(np.uint8)
    return InMemoryLoader(Split(images, rng.integers(0, 5, COUNT)), torch.device("cpu"))


def views_of(cutmix: float = 0.6, channels: int = 2) -> Augmentation:
    views = Augmentation(POLICY, (120.7, 99.9, 3.3)[:channels], (61.1, 70.0, 55.5)[:channels])
    return views.for_subset(KEPT, CutMixPolicy(prob=cutmix))


def look(views: Augmentation, ids: Any, epoch: int = 1) -> tuple[Batch, torch.Tensor]:
    """Return one batch of views."""
    return next(views.read(loader_of(), [np.array(ids)], epoch))


@settings(max_examples=60)
@given(
    st.sampled_from([0.1, 0.6, 1.0]), st.integers(0, 6), st.lists(st.sampled_from(KEPT.tolist()), min_size=1, max_size=40)
)
def test_mixed_views_equal_the_slow_reference(cutmix: float, epoch: int, ids: list[int]) -> None:
    views, loader = views_of(cutmix), loader_of()
    mixture = views.mixing
    assert mixture is not None
    batch, augmented = look(views, ids, epoch)
    assert batch.mixed is not None
    assert augmented.is_contiguous(memory_format=torch.channels_last)
    batch_of_all = next(loader.read([np.arange(COUNT)]))
    unmixed = views.apply(batch_of_all.images, batch_of_all.ids, epoch)
    for row, sample in enumerate(ids):
        one, number = np.array([sample]), views.view_index(epoch)
        draws = mixture.sample_params(one, number)
        expected, other, share = unmixed[sample].clone(), int(batch_of_all.labels[sample]), 1.0
        if draws.mixed[0]:
            partner = int(draws.partners[0])
            assert partner in KEPT
            top, bottom, left, right = draws.boxes(7, 9)[0].tolist()
            expected[:, top:bottom, left:right] = unmixed[partner][:, top:bottom, left:right]
            other, share = int(batch_of_all.labels[partner]), 1 - (bottom - top) * (right - left) / 63
        assert torch.equal(augmented[row], expected)
        assert int(batch.mixed.targets_b[row]) == other
        assert float(batch.mixed.lam[row]) == pytest.approx(share)
        assert int(batch.labels[row]) == int(batch_of_all.labels[sample])
        assert torch.equal(batch.images[row], batch_of_all.images[sample])


def test_a_view_does_not_depend_on_the_batch() -> None:
    views = views_of()
    batch_views, single_views = look(views, KEPT), [look(views, [sample]) for sample in KEPT]
    assert torch.equal(batch_views[1], torch.cat([images for _, images in single_views]))
    parts = list(views.read(loader_of(), [KEPT[:7], KEPT[7:8], KEPT[8:]], 1))
    assert torch.equal(batch_views[1], torch.cat([images for _, images in parts]))
    assert [batch.ids.tolist() for batch, _ in parts] == [KEPT[:7].tolist(), KEPT[7:8].tolist(), KEPT[8:].tolist()]


def test_mixed_views_repeat_after_v_epochs_and_depend_on_the_subset() -> None:
    views = views_of(1.0)
    assert torch.equal(look(views, KEPT, 1)[1], look(views, KEPT, 5)[1])
    assert not torch.equal(look(views, KEPT, 1)[1], look(views, KEPT, 2)[1])
    fewer = views.for_subset(KEPT[:20], CutMixPolicy(prob=1.0))
    assert not torch.equal(look(views, KEPT[:20])[1], look(fewer, KEPT[:20])[1])
    assert fewer.mixing is not None
    assert views.mixing is not None
    assert fewer.mixing.digest != views.mixing.digest


def test_cutmix_is_off_by_default() -> None:
    unmixed = views_of(0.0)
    assert unmixed.mixing is None
    batch, augmented = look(unmixed, KEPT)
    assert batch.mixed is None
    assert torch.equal(augmented, unmixed.apply(batch.images, KEPT, 1))


def test_the_requested_fraction_is_mixed_with_uniform_area() -> None:
    ids, mixture = np.arange(50_000), Mixing(CutMixPolicy(prob=0.7), MixupPolicy(), 3, np.arange(1000))
    draws = mixture.sample_params(ids, 2)
    assert draws.mixed.mean() == pytest.approx(0.7, abs=0.01)
    boxes = draws.boxes(28, 32)
    covered = 1 - mixing_lambda(draws._replace(mixed=np.ones(len(ids), np.bool_)), 28, 32)
    assert covered.min() < 0.01
    assert covered.max() > 0.97
    assert 0.3 < covered.mean() < 0.5  # uniform before the border cuts it off
    partners = np.bincount(draws.partners, minlength=1000)
    assert partners.min() > 15
    columns = np.stack([draws.mixed, draws.partners, draws.side, boxes[:, 0] + boxes[:, 1], boxes[:, 2] + boxes[:, 3]])
    assert np.abs(np.corrcoef(columns) - np.eye(5)).max() < 0.02


def test_draws_are_pinned() -> None:
    """Changing these numbers would invalidate existing soft-label caches."""
    mixture, ids = (
        Mixing(CutMixPolicy(prob=0.5), MixupPolicy(), 7, np.arange(0, 1000, 7)),
        np.array([0, 1, 2, 3, 49_999, 2**40]),
    )
    draws = mixture.sample_params(ids, 3)
    assert draws.mixed.tolist() == [True, True, True, True, False, False]
    part = draws.slice(0, 4)
    assert part.partners.tolist() == [651, 322, 175, 546]
    assert part.boxes(28, 32).tolist() == [[0, 7, 0, 7], [1, 15, 22, 32], [0, 17, 0, 17], [2, 13, 3, 15]]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_invalid_fractions_are_refused(share: float) -> None:
    with pytest.raises(InvalidValue, match=r"prob lies in"):
        CutMixPolicy(prob=share)


def test_the_loss_of_a_mixed_image_weights_both_labels_by_area() -> None:
    logits, labels, others = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 0, 2, 3, 0])
    share = torch.tensor([0.2, 0.5, 1.0, 0.7, 0.0, 0.4])
    batch = Batch(torch.empty(0), labels, np.arange(6), MixedLabels(others, share))
    one_hot = torch.nn.functional.one_hot
    target = share[:, None] * one_hot(labels, 4) + (1 - share)[:, None] * one_hot(others, 4)
    expected = cross_entropy(logits, target, label_smoothing=0.1)
    assert float(CrossEntropy(0.1)(logits, batch, 0).total) == pytest.approx(float(expected), rel=1e-5)
    teacher = torch.randn(2, 6, 4)
    overlap = torch.minimum(softmax(teacher, 2).mean(0), target).sum(1)
    assert torch.allclose(label_confidence(teacher, batch), overlap)

    class Fixed:
        def __getitem__(self, key: Any) -> torch.Tensor:
            return teacher

    for trust in (False, True):
        unmixed_loss = DistillationLoss(Fixed(), 1.0, 4.0, confidence_weighting=trust)(logits, batch, 0).total
        mostly = DistillationLoss(Fixed(), 0.999999, 4.0, confidence_weighting=trust)(logits, batch, 0).total
        assert float(unmixed_loss) == pytest.approx(float(mostly), rel=1e-4)


def test_soft_labels_of_mixed_views_belong_to_the_mixed_image_and_one_subset(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    context = make_context(small_dataset, "cutmix.prob=0.8", "views.num_views=2", "teacher.epochs=1")
    teacher = load_teacher(teach(context).folder, small_dataset, context.device)

    def cache_of(kept: Any) -> SoftLabelCache:
        views = context.views if kept is None else context.for_subset(kept).views
        return SoftLabelCache(teacher, views, small_dataset.fingerprint, small_dataset.total, small_dataset.classes)

    kept = np.arange(0, 120, 2)
    cache, other = cache_of(kept), cache_of(np.arange(0, 120, 3))
    assert len({cache.folder, other.folder, cache_of(None).folder}) == 3
    assert "subset" not in read_json(cache_of(None).folder / "manifest.json")
    cache.fill(context.loader("train"), kept, range(2))
    for epoch in (0, 1):
        views = context.for_subset(kept).views
        batch, logits = next(batch_logits(teacher.model, context.loader("train"), [kept], views, epoch=epoch))
        assert torch.allclose(cache[batch.ids, epoch], logits, atol=2e-2)
    assert cache.fill(context.loader("train"), kept, range(2)) == 0


def test_a_student_with_mixed_views_is_reproducible_and_shares_its_teacher(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    unmixed = train(make_context(small_dataset), fraction=0.5, kd_weight=0.9)
    mixed = train(make_context(small_dataset, "cutmix.prob=1.0"), fraction=0.5, kd_weight=0.9)
    assert mixed.folder != unmixed.folder
    assert mixed.result.teacher == unmixed.result.teacher
    assert mixed.result.soft_labels_computed > 0
    repeated = train(
        make_context(small_dataset, "cutmix.prob=1.0"), fraction=0.5, kd_weight=0.9, out=mixed.folder.parent / "again"
    )
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (mixed, repeated, unmixed)]
    assert weights[0] == weights[1] != weights[2]
    assert "prob = 1.0" in (mixed.folder / "config.toml").read_text()
    assert "[cutmix]" not in (unmixed.folder / "config.toml").read_text()


def test_an_invalid_probability_is_refused(dprune: Callable[..., Any], tmp_path: Path) -> None:
    command = dprune("train", "--fraction", "0.5", "--kd-weight", "0", "--set", "cutmix.prob=2")
    assert command.code == 2
    assert "cutmix.prob" in command.err
    assert command.err.strip().count("\n") == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (COUNT, 7, 9, 2)).astype(np.uint8), rng.integers(0, 5, COUNT))
    gpu_loader = InMemoryLoader(split, torch.device("cuda"))
    for (_, on_cpu), (_, on_gpu) in zip(
        views_of().read(loader_of(), [KEPT], 2), views_of().read(gpu_loader, [KEPT], 2), strict=True
    ):
        assert torch.equal(on_cpu, on_gpu.cpu())
