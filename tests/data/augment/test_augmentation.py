"""Views are pure functions of (view seed, view number, sample id) and equal a slow reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.batching import training_batches
from datapruning.data.loaders.split_loaders import InMemoryLoader
from datapruning.errors import InvalidValue
from tests.conftest import make_dataset

EVERYTHING = AugmentPolicy(flip=True, crop=2, cutout=3, num_views=4, seed=5)
MEAN, STD = (120.7, 99.9, 3.3), (61.1, 70.0, 55.5)
Images = NDArray[np.uint8]


def bound(policy: AugmentPolicy, channels: int = 3) -> Augmentation:
    return Augmentation(policy, MEAN[:channels], STD[:channels])


def random_images(count: int, height: int = 8, width: int = 8, channels: int = 3, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels)).astype(np.uint8)


def slowly(views: Augmentation, image: Images, sample: int, epoch: int) -> NDArray[np.float32]:
    """Compute one view of one image from the description of the policy; only the random draws are shared."""
    height, width, channels = image.shape
    policy, number = views.policy, epoch % views.policy.num_views
    down, right, flip, centre_down, centre_right = views.sample_params(np.array([sample]), number, height, width)[0]
    mode = "constant" if policy.padding == "black" else "reflect"
    padded = np.pad(image, ((policy.crop, policy.crop), (policy.crop, policy.crop), (0, 0)), mode=mode)
    image = padded[down : down + height, right : right + width]
    if policy.flip and flip:
        image = image[:, ::-1]
    pixels = np.empty((channels, height, width), np.float32)
    for channel in range(channels):
        centred = image[..., channel].astype(np.float32) - np.float32(views.mean[channel])
        pixels[channel] = centred / np.float32(views.std[channel])
    if policy.cutout:
        top, left = int(centre_down) - policy.cutout // 2, int(centre_right) - policy.cutout // 2
        pixels[:, max(top, 0) : max(top + policy.cutout, 0), max(left, 0) : max(left + policy.cutout, 0)] = 0
    return pixels


policies = st.builds(
    AugmentPolicy,
    flip=st.booleans(),
    alternate_flips=st.booleans(),
    crop=st.integers(0, 5),
    padding=st.sampled_from(["black", "reflect"]),
    cutout=st.integers(0, 9),
    num_views=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)


@given(policies, st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]), st.integers(0, 9), st.integers(0, 2**40))
@settings(max_examples=120)
def test_views_equal_the_slow_reference(
    policy: AugmentPolicy, height: int, width: int, channels: int, epoch: int, first: int
) -> None:
    views, images = bound(policy, channels), random_images(6, height, width, channels)
    ids = first + np.array([3, 0, 7, 7, 1, 2])
    fast = views.apply(torch.from_numpy(images), ids, epoch)
    for row, sample in enumerate(ids.tolist()):
        np.testing.assert_array_equal(fast[row].numpy(), slowly(views, images[row], sample, epoch))


@given(st.lists(st.integers(0, 39), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 7))
@settings(max_examples=60)
def test_a_view_does_not_depend_on_the_batch(ids: list[int], size: int, epoch: int) -> None:
    views, images = bound(EVERYTHING), random_images(40)
    expected = views.apply(torch.from_numpy(images), np.arange(40), epoch)
    for start in range(0, len(ids), size):
        batch = np.array(ids[start : start + size])
        assert torch.equal(views.apply(torch.from_numpy(images[batch]), batch, epoch), expected[batch])


def look(policy: AugmentPolicy, epoch: int) -> torch.Tensor:
    return bound(policy).apply(torch.from_numpy(random_images(64)), np.arange(64), epoch)


def test_views_repeat_after_v_epochs_and_not_before() -> None:
    looks = [look(EVERYTHING, epoch) for epoch in range(9)]
    for epoch, images in enumerate(looks):
        assert torch.equal(images, looks[epoch % 4])
    assert not any(torch.equal(looks[a], looks[b]) for a in range(4) for b in range(a))


@given(st.integers(0, 2**32), st.integers(0, 2**40))
@settings(max_examples=20)
def test_alternate_flips_show_both_sides_in_two_views(seed: int, first: int) -> None:
    views, ids = bound(AugmentPolicy(alternate_flips=True, num_views=6, seed=seed)), first + np.arange(400)
    flips = np.stack([views.sample_params(ids, view, 8, 8)[:, 2] for view in range(6)])
    assert (flips[1:] == 1 - flips[:-1]).all()
    assert 120 < flips[0].sum() < 280, "in a view half of the samples are mirrored"


@pytest.mark.parametrize("mixing", [{}, {"cutmix": CutMixPolicy(prob=0.5)}, {"mixup": MixupPolicy(prob=0.5)}])
@pytest.mark.parametrize("at_once", [16, 17, 40, 1000])
def test_batches_that_are_read_at_once_are_the_same(mixing: dict[str, Any], at_once: int) -> None:
    data = make_dataset(60, side=8)
    views = Augmentation(AugmentPolicy(crop=2, flip=True, cutout=3), *data.channel_stats)
    views = views.for_subset(np.arange(60), mixing.get("cutmix", CutMixPolicy()), mixing.get("mixup", MixupPolicy()))
    batches = training_batches(np.arange(60), 16, 0, 0)
    loader = InMemoryLoader(data.train, torch.device("cpu"))
    separate = list(views.read(loader, batches, 3))
    loader.samples_at_once = at_once
    together = list(views.read(loader, batches, 3))
    assert [batch.ids.tolist() for batch, _ in together] == [ids.tolist() for ids in batches]
    for (batch, images), (other, other_images) in zip(separate, together, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(batch.images, other.images)
        assert torch.equal(batch.labels, other.labels)
        if batch.mixed:
            assert other.mixed
            assert all(map(torch.equal, batch.mixed, other.mixed))


def test_another_view_seed_gives_other_views() -> None:
    other = AugmentPolicy(**{**vars(EVERYTHING), "seed": 6})
    assert not torch.equal(look(EVERYTHING, 0), look(other, 0))


def test_views_do_not_depend_on_torch_and_numpy_seeds() -> None:
    before = look(EVERYTHING, 1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(99)
        assert torch.equal(look(EVERYTHING, 1), before)


def test_no_augmentation_is_plain_normalisation() -> None:
    images = random_images(10)
    views = bound(AugmentPolicy(flip=False, crop=0, cutout=0))
    augmented = views.apply(torch.from_numpy(images), np.arange(10), 3)
    assert torch.equal(augmented, views.normalise(torch.from_numpy(images)))
    expected = (images.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    np.testing.assert_array_equal(augmented.numpy(), expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "policy", [EVERYTHING, AugmentPolicy(flip=False, crop=0), AugmentPolicy(crop=0), AugmentPolicy(flip=False)]
)
def test_output_is_float32_channels_last_and_the_input_stays(policy: AugmentPolicy, channels: int) -> None:
    images = torch.from_numpy(random_images(16, 6, 9, channels))
    before = images.clone()
    for augmented in (bound(policy, channels).apply(images, np.arange(16), 0), bound(policy, channels).normalise(images)):
        assert augmented.dtype == torch.float32
        assert augmented.shape == (16, channels, 6, 9)
        assert augmented.is_contiguous(memory_format=torch.channels_last)
        augmented.fill_(7.0)
    assert torch.equal(images, before)


def test_ids_may_be_a_tensor() -> None:
    images, ids = torch.from_numpy(random_images(20)), np.arange(20)[::-1].copy()
    views = bound(EVERYTHING)
    assert torch.equal(views.apply(images, torch.from_numpy(ids), 1), views.apply(images, ids, 1))


def test_a_batch_that_is_not_contiguous_gives_the_same_views() -> None:
    images = torch.from_numpy(random_images(20))
    spread = images.repeat_interleave(2, 0)[::2]
    assert not spread.is_contiguous()
    views = bound(EVERYTHING)
    assert torch.equal(views.apply(spread, np.arange(20), 0), views.apply(images, np.arange(20), 0))


def test_half_are_flipped_and_offsets_are_uniform_and_independent() -> None:
    views = bound(AugmentPolicy(flip=True, crop=4, cutout=5, seed=1))
    params = np.concatenate([views.sample_params(np.arange(20_000), view, 28, 32) for view in range(4)])
    for column, limit in enumerate((9, 9, 2, 28, 32)):
        counts = np.bincount(params[:, column], minlength=limit)
        assert len(counts) == limit
        expected = len(params) / limit
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        assert chi_square < (limit - 1) + 6 * (2 * (limit - 1)) ** 0.5
    correlations = np.corrcoef(params.T) - np.eye(5)
    assert np.abs(correlations).max() < 0.02


def test_draws_are_pinned() -> None:
    """Changing these numbers would invalidate existing soft-label caches."""
    ids = np.array([0, 1, 2, 49_999, 2**40])
    params = bound(AugmentPolicy(cutout=3, seed=7)).sample_params(ids, 3, 28, 32)
    assert params.tolist() == [[5, 8, 0, 25, 19], [5, 5, 1, 22, 19], [4, 3, 0, 8, 14], [8, 7, 1, 16, 19], [3, 4, 1, 9, 2]]


def test_without_cutout_other_draws_are_unchanged() -> None:
    ids = np.arange(500)
    with_one, without = (bound(AugmentPolicy(cutout=size, seed=7)).sample_params(ids, 3, 28, 32) for size in (3, 0))
    np.testing.assert_array_equal(without[:, :3], with_one[:, :3])
    assert not without[:, 3:].any()
    assert not bound(AugmentPolicy(flip=False, cutout=3, seed=7)).sample_params(ids, 3, 28, 32)[:, 2].any()


def test_views_of_other_statistics_stay_apart() -> None:
    images = torch.from_numpy(random_images(4))
    first, second = bound(EVERYTHING), Augmentation(EVERYTHING, STD, MEAN)
    for views in (first, second, first):
        expected = (images.numpy() - np.array(views.mean, np.float32)) / np.array(views.std, np.float32)
        np.testing.assert_array_equal(views.normalise(images).numpy(), expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("wrong", [{"crop": -1}, {"cutout": -2}, {"num_views": 0}])
def test_impossible_policies_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidValue, match=str(next(iter(wrong.values())))):
        AugmentPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("policy", [EVERYTHING, AugmentPolicy(), AugmentPolicy(crop=0)])
def test_a_gpu_gives_the_same_bits(policy: AugmentPolicy) -> None:
    images, ids = torch.from_numpy(random_images(100, 32, 32)), np.arange(100)
    on_cpu = bound(policy).apply(images, ids, 2)
    on_gpu = bound(policy).apply(images.cuda(), ids, 2)
    assert torch.equal(on_gpu.cpu(), on_cpu)
