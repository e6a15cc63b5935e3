"""Resized and centre crops: box positions, resampling worked out by hand, and equal bits of all implementations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import interpolate

import datapruning as dp
from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy
from datapruning.data.augment import augmentation, crops, numba_kernels
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.augment.crops import ONE, bilinear_weights, random_resized_boxes, resample
from datapruning.data.batching import training_batches
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.split_loaders import InMemoryLoader, MmapLoader
from datapruning.errors import InvalidValue
from datapruning.runs.context import Context
from tests.conftest import CommandResult, make_dataset
from tests.helpers.image_files import make_image_folder

RESIZED = AugmentPolicy(flip=True, crop=0, cutout=3, num_views=4, seed=5, size=12, scale=(0.2, 1.0))
CPU = torch.device("cpu")


def random_images(count: int, height: int = 16, width: int = 16, channels: int = 3, seed: int = 0) -> torch.Tensor:
    shape = (count, height, width, channels)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def bound(policy: AugmentPolicy, channels: int = 3) -> Augmentation:
    return Augmentation(policy, (120.7, 99.9, 3.3)[:channels], (61.1, 70.0, 55.5)[:channels])


def boxes_of(policy: AugmentPolicy, height: int, width: int, count: int = 500, view: int = 0) -> NDArray[np.int64]:
    return random_resized_boxes(np.arange(count), policy, view, height, width)


def box(*sides: int) -> NDArray[np.int64]:
    return np.array([sides], np.int64)


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.integers(0, 5),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)),
)  # fmt: skip
@settings(max_examples=100)
def test_boxes_are_inside_the_image(
    height: int, width: int, seed: int, view: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    policy = AugmentPolicy(crop=0, seed=seed, scale=tuple(sorted(scale)), ratio=tuple(sorted(ratio)))
    top, left, tall, broad = boxes_of(policy, height, width, 60, view).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (tall >= 1).all()
    assert (broad >= 1).all()
    assert (top + tall <= height).all()
    assert (left + broad <= width).all()


def uniform(values: NDArray[np.float64], parts: int = 20) -> bool:
    """Whether numbers in 0..1 are uniform over `parts` bins (chi-square, six standard deviations)."""
    expected = len(values) / parts
    counts = np.histogram(values, parts, (0, 1))[0]
    return float(((counts - expected) ** 2 / expected).sum()) < (parts - 1) + 6 * (2 * (parts - 1)) ** 0.5


def test_crop_parameters_are_independent_and_follow_their_distributions() -> None:
    side, (low, high), (narrow, wide) = 4000, (0.1, 0.5), (0.5, 1.8)  # every box fits, so none is drawn again
    top, left, tall, broad = boxes_of(AugmentPolicy(crop=0, scale=(low, high), ratio=(narrow, wide)), side, side, 40_000).T
    boxes = np.stack([
        (tall * broad / side**2 - low) / (high - low),
        np.log(broad / tall / narrow) / math.log(wide / narrow),
        (top + 0.5) / (side - tall + 1),
        (left + 0.5) / (side - broad + 1),
    ])  # fmt: skip
    for values in boxes:
        assert values.min() > -0.002
        assert values.max() < 1.002
        assert uniform(values.clip(0, 1))
    assert np.abs(np.corrcoef(boxes) - np.eye(4)).max() < 0.02


def test_boxes_depend_on_view_and_seed_but_not_on_the_batch() -> None:
    policy = AugmentPolicy(crop=0, scale=(0.08, 1.0))
    all_boxes = boxes_of(policy, 64, 64)
    some = np.array([7, 499, 7, 0])
    assert (random_resized_boxes(some, policy, 0, 64, 64) == all_boxes[some]).all()
    for other in (boxes_of(policy, 64, 64, view=1), boxes_of(policy.replace(seed=1), 64, 64)):
        assert (other != all_boxes).any(1).mean() > 0.9


def test_boxes_are_pinned() -> None:
    """Changing these numbers would invalidate existing soft-label caches, and every machine must draw the same."""
    policy = AugmentPolicy(crop=0, seed=7, scale=(0.08, 1.0))
    boxes = random_resized_boxes(np.array([0, 1, 2, 49_999, 2**40]), policy, 3, 256, 300)
    assert boxes.tolist() == PINNED


PINNED = [[39, 46, 185, 240], [11, 71, 217, 170], [59, 96, 102, 110], [8, 14, 237, 284], [1, 25, 251, 210]]


def test_boxes_that_never_fit_become_the_largest_centred_box() -> None:
    square = AugmentPolicy(crop=0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert boxes_of(square, 10, 100, 3).tolist() == [[0, 45, 10, 10]] * 3
    assert boxes_of(square, 100, 10, 3).tolist() == [[45, 0, 10, 10]] * 3
    wide = AugmentPolicy(crop=0, scale=(1.0, 1.0), ratio=(2.0, 2.0))
    assert boxes_of(wide, 10, 10, 3).tolist() == [[2, 0, 5, 10]] * 3


@pytest.mark.parametrize(
    ("length", "size", "positions"),
    [
        (2, 4, [0, 0.25, 0.75, 1]),
        (4, 2, [0.5, 2.5]),
        (1, 3, [0, 0, 0]),
        (5, 5, [0, 1, 2, 3, 4]),
        (3, 2, [0.25, 1.75]),
    ],
)
def test_resampling_positions_by_hand(length: int, size: int, positions: list[float]) -> None:
    result = bilinear_weights(torch.tensor([10]), torch.tensor([length]), size)
    assert (result.before + result.weight / ONE - 10).tolist() == [positions]
    assert (result.after == (result.before + 1).clamp(max=10 + length - 1)).all()


def by_hand(pixels: list[list[int]], height: int, width: int, *box_values: int) -> list[list[int]]:
    image = torch.tensor(pixels, dtype=torch.uint8)[None, ..., None]
    actual = [resample(image, torch.from_numpy(box(*box_values)), height, width)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "compiled", lambda kernel: None)
        actual.append(resample(image, torch.from_numpy(box(*box_values)), height, width))
    assert torch.equal(*actual)
    return actual[0][0, ..., 0].tolist()


def test_pixels_worked_out_by_hand() -> None:
    assert by_hand([[0, 100]], 1, 4, 0, 0, 1, 2) == [[0, 25, 75, 100]]
    assert by_hand([[0], [100]], 4, 1, 0, 0, 2, 1) == [[0], [25], [75], [100]]
    assert by_hand([[0, 10], [20, 90]], 1, 1, 0, 0, 2, 2) == [[30]]
    assert by_hand([[1, 2, 3, 4]], 1, 2, 0, 0, 1, 4) == [[2, 4]]  # 1.5 and 3.5: halves go up
    assert by_hand([[9, 9, 9, 9], [9, 1, 3, 9], [9, 5, 7, 9], [9, 9, 9, 9]], 2, 2, 1, 1, 2, 2) == [[1, 3], [5, 7]]
    assert by_hand([[9, 0, 100, 9]], 1, 4, 0, 1, 1, 2) == [[0, 25, 75, 100]]  # nothing from outside the box


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20), st.integers(1, 4)),
    st.integers(1, 24), st.integers(1, 24), st.integers(0, 99), st.integers(1, 2000),
)  # fmt: skip
@settings(max_examples=80)
def test_the_kernel_gives_the_bits_of_the_torch_operations(
    shape: tuple[int, int, int, int], height: int, width: int, seed: int, chunk: int
) -> None:
    images = random_images(*shape, seed=seed)
    before = images.clone()
    boxes = boxes_of(AugmentPolicy(crop=0, seed=seed, scale=(0.1, 1.0)), *shape[1:3], shape[0])
    by_kernel = resample(images, torch.from_numpy(boxes), height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "compiled", lambda kernel: None)
        patch.setattr(crops, "MAX_PIXELS", chunk)
        by_torch = resample(images, torch.from_numpy(boxes), height, width)
    assert torch.equal(by_kernel, by_torch)
    assert by_kernel.shape == (shape[0], height, width, shape[3])
    assert torch.equal(images, before)


@pytest.mark.parametrize(("height", "width"), [(7, 9), (16, 16), (31, 40), (224, 224)])
def test_it_is_bilinear_resampling(height: int, width: int) -> None:
    images, boxes = random_images(4), np.array([[0, 0, 16, 16], [2, 3, 9, 5], [15, 0, 1, 16], [4, 4, 12, 12]])
    resampled = resample(images, torch.from_numpy(boxes), height, width)
    for image, (top, left, tall, broad), actual in zip(images, boxes.tolist(), resampled, strict=True):
        part = image[top : top + tall, left : left + broad].permute(2, 0, 1)[None].float()
        exact = interpolate(part, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
        assert (actual - exact).abs().max() < 0.5 + 2 * 255 / ONE  # rounding of the result, and of two places


def test_empty_batches_are_accepted() -> None:
    for run in (numba_kernels.compiled, lambda kernel: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(crops, "compiled", run)
            assert resample(random_images(0), torch.empty(0, 4, dtype=torch.int64), 5, 6).shape == (0, 5, 6, 3)


def test_a_full_size_crop_is_the_image() -> None:
    policy = AugmentPolicy(flip=False, crop=0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    views, images = bound(policy), random_images(8)
    assert torch.equal(views.apply(images, np.arange(8), 2), views.normalise(images))


def test_a_view_is_its_box_resampled_mirrored_and_normalised() -> None:
    images, ids = random_images(30, 20, 16), np.arange(30) * 7
    policy = RESIZED.replace(cutout=0)
    augmented = bound(policy).apply(images, ids, 6)
    expected = resample(images, torch.from_numpy(random_resized_boxes(ids, policy, 2, 20, 16)), 12, 12)
    flips = bound(policy).sample_params(ids, 2, 12, 12)[:, 2].astype(bool)
    expected[flips] = expected[flips].flip(2)
    assert flips.any()
    assert torch.equal(augmented, bound(AugmentPolicy()).normalise(expected))
    holes = bound(RESIZED).apply(images, ids, 6) != augmented
    assert holes.any(1).flatten(1).sum(1).tolist() == [
        (min(12, d + 2) - max(0, d - 1)) * (min(12, r + 2) - max(0, r - 1))
        for d, r in bound(RESIZED).sample_params(ids, 2, 12, 12)[:, 3:].tolist()
    ]


@pytest.mark.parametrize(
    "policy", [RESIZED, AugmentPolicy(crop=2, size=12, num_views=4), AugmentPolicy(crop=0, num_views=4, scale=(0.1, 0.9))]
)
def test_a_view_does_not_depend_on_the_batch_or_the_implementation(
    policy: AugmentPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, ids = random_images(40, 18, 15), np.arange(40)
    views_of = bound(policy)
    monkeypatch.setattr(augmentation, "MAX_TORCH_PIXELS", 0)
    expected = views_of.apply(images, ids, 5)
    assert expected.shape[2:] == ((12, 12) if policy.size else (18, 15))
    assert expected.is_contiguous(memory_format=torch.channels_last)
    for part in np.array_split(np.random.default_rng(0).permutation(40), 7):
        assert torch.equal(views_of.apply(images[part], part, 5), expected[part])
    assert torch.equal(views_of.apply(images, ids, 9), expected)  # four views, then the first again
    assert not torch.equal(views_of.apply(images, ids, 6), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crops, "compiled", lambda kernel: None)
        patch.setattr(augmentation, "compiled", lambda kernel: None)
        assert torch.equal(views_of.apply(images, ids, 5), expected)


@pytest.mark.parametrize("policy", [RESIZED, AugmentPolicy(size=12), AugmentPolicy(crop=0, size=12)])
def test_evaluation_uses_the_centre_crop(policy: AugmentPolicy) -> None:
    images = random_images(5, 17, 20)
    middle = images[:, 2:14, 4:16]
    assert torch.equal(bound(policy).normalise(images), bound(AugmentPolicy()).normalise(middle))


def test_without_scale_the_centre_crop_is_augmented() -> None:
    images, ids = random_images(20, 17, 20), np.arange(20)
    augmented = bound(AugmentPolicy(crop=3, size=12)).apply(images, ids, 1)
    assert torch.equal(augmented, bound(AugmentPolicy(crop=3)).apply(images[:, 2:14, 4:16], ids, 1))


def test_mixed_views_have_the_size_of_the_views() -> None:
    data = make_dataset(60, side=16)
    mixed = bound(RESIZED.replace(cutout=0)).for_subset(np.arange(60), CutMixPolicy(prob=1.0))
    loader = InMemoryLoader(data.train, CPU)
    (batch, seen), *_ = mixed.read(loader, [np.arange(60)], 0)
    assert seen.shape == (60, 3, 12, 12)
    assert mixed.mixing is not None
    params = mixed.mixing.sample_params(np.arange(60), 0)
    top, bottom, left, right = params.boxes(12, 12).T
    covered = (bottom - top) * (right - left)
    assert batch.mixed is not None
    np.testing.assert_allclose(batch.mixed.lam.numpy(), 1 - covered / 144, atol=1e-6)
    augmented = bound(RESIZED.replace(cutout=0)).apply(batch.images, np.arange(60), 0)
    assert ((augmented != seen).any(1).flatten(1).sum(1).numpy() <= covered).all()


def test_views_do_not_depend_on_the_loader() -> None:
    split, ids = make_dataset(70, side=16).train, np.arange(70)
    orders = (training_batches(ids, 16, 0, 0), training_batches(ids, 33, 5, 1))
    views_by_loader = [
        torch.cat([images for _, images in bound(RESIZED).read(loader, order, 3)])[np.argsort(np.concatenate(order))]
        for loader in (InMemoryLoader(split, CPU), MmapLoader(split, CPU))
        for order in orders
    ]
    assert all(torch.equal(item, views_by_loader[0]) for item in views_by_loader)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": -1}, "size lies in"),
        ({"crop": 0, "scale": (0.5,)}, "scale is"),
        ({"crop": 0, "scale": (0.0, 1.0)}, "scale is"),
        ({"crop": 0, "scale": (0.9, 0.1)}, "scale is"),
        ({"crop": 0, "scale": (0.1, 1.1)}, "scale is"),
        ({"crop": 0, "scale": (0.1, math.nan)}, "scale is"),
        ({"crop": 0, "scale": (0.1, 0.5, 1.0)}, "scale is"),
        ({"ratio": (1.5, 0.5)}, "ratio is"),
        ({"ratio": ()}, "ratio is"),
        ({"ratio": (0.0, 1.0)}, "ratio is"),
        ({"ratio": (1.0, math.inf)}, "ratio is"),
        ({"crop": 4, "scale": (0.1, 1.0)}, "scale and crop do not go together"),
    ],
)
def test_impossible_policies_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        AugmentPolicy(**wrong)  # type: ignore[arg-type]


def test_views_larger_than_the_images_are_refused() -> None:
    for policy in (AugmentPolicy(size=17), AugmentPolicy(crop=0, size=17, scale=(0.1, 1.0))):
        for see in (bound(policy).normalise, partial(bound(policy).apply, ids=np.arange(2), epoch=0)):
            with pytest.raises(InvalidValue, match=r"views\.size is 17, but the images are 16x20: .*\(image_size\)"):
                see(random_images(2, 16, 20))


def test_a_ratio_without_resized_crops_has_no_effect() -> None:
    assert AugmentPolicy(ratio=(0.5, 2.0)).to_dict() == AugmentPolicy().to_dict()
    policy = AugmentPolicy(crop=0, size=12, scale=(0.5, 1.0), ratio=(1.0, 1.0))
    assert policy.to_dict() == {
        "flip": True, "crop": 0, "cutout": 0, "num_views": 16, "seed": 0, "size": 12,
        "scale": [0.5, 1.0], "ratio": [1.0, 1.0],
    }  # fmt: skip


SHAPED = """
import torch

def net(channels, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 6 * 6, classes))
"""


def test_all_consumers_get_the_size_of_views(
    make_context: Callable[..., Context], small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network for 6x6 images on 8x8 data: teacher, soft labels, pruned student."""
    from datapruning.api.score import score
    from datapruning.api.select import select
    from datapruning.api.train import train

    (tmp_path / "only_six.py").write_text(SHAPED)
    monkeypatch.syspath_prepend(tmp_path)
    sizes = ("views.size=6", "views.crop=0", "views.scale=[0.3,1.0]", "cutmix.prob=0.5")
    models = [f"{table}.model=only_six:net" for table in ("train", "teacher", "proxy", "ensemble_member")]
    context = make_context(
        small_dataset,
        *sizes,
        *models,
        "kd.teacher_candidates=['only_six:net']",
        "ensemble.num_members=8",
        "ensemble.subset_fraction=0.5",
    )
    assert context.shape == (6, 6, 3)
    scores = score(context, "el2n")
    score(context, "memorization")
    subset = select(scores, fraction=0.5)
    train(context, subset=subset, kd_weight=0.5)
    train(context.with_sparsity(0.5, "snip"), subset=subset, kd_weight=0.0)
    with pytest.raises(InvalidValue, match=r"views\.size is 9, but the images are 8x8"):
        make_context(small_dataset, "views.size=9")


def test_images_that_are_too_small_for_the_augmentation_are_refused(digits: Dataset) -> None:
    policy = AugmentPolicy(crop=0, scale=(0.0625, 1.0))
    policy.check_images((8, 8, 3))  # four pixels
    with pytest.raises(InvalidValue, match=r"views\.scale begins at 0\.0625, which is less than 4 pixels of images of 7x8"):
        policy.check_images((7, 8, 3))
    with pytest.raises(InvalidValue, match=r"views\.crop is 4, but the network sees 4x4 pixels"):
        AugmentPolicy(crop=4, size=4).check_images((8, 8, 3))
    AugmentPolicy(crop=3, cutout=3, size=4).check_images((8, 8, 3))
    with pytest.raises(InvalidValue, match="crop is 8"):
        dp.open_context(digits, changes=["views.crop=8"], device="cpu")


WORDS = ["--data", "pets", "--image-size", "20", "--image-format", "jpg:80", "--recipe", "folder", "--fraction", "0.5"]
SETTINGS = [
    "views.size=16", "views.crop=0", "views.scale=[0.3,1.0]", "train.epochs=2", "teacher.epochs=1", "train.model=tinynet8",
    "teacher.model=tinynet8", "train.batch_size=16",
]  # fmt: skip


def test_a_folder_of_many_sizes_trains(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    make_image_folder(tmp_path / "pets", 30, 6)
    arguments = [word for change in SETTINGS for word in ("--set", change)]
    first = dprune("train", *WORDS, "--scorer", "random", "--kd-weight", "0.5", *arguments, "--out", "run")
    assert first.code == 0, first.err
    assert "jpg80" in first.err
    assert not list(tmp_path.rglob("*.beton"))  # the images are stored once
    repeated = dprune("train", "--recipe", "run/config.toml", "--scorer", "random", "--fraction", "0.5", "--out", "again")
    assert repeated.code == 0, repeated.err
    assert (tmp_path / "run/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()
    assert (
        'data = "' + str(tmp_path / "pets") + '?image-size=20&image-format=jpg:80"'
        in (tmp_path / "run/config.toml").read_text()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("views.size=21", "views.size is 21, but the images are 20x20"),
        ("views.scale=[0.5,2.0]", "views.scale"),
        ("views.scale=0.5", "views.scale is a list"),
        ("views.scale=[0.5,1.0]", "set crop = 0"),
        ("views.size=16.5", "views.size is a whole number"),
        ("views.crop=20", "views.crop is 20, but the network sees 20x20 pixels, of which nothing might be left"),
        ("views.cutout=30", "views.cutout is 30"),
    ],
)
def test_an_invalid_policy_is_refused(expect_refusal: Callable[..., str], tmp_path: Path, change: str, message: str) -> None:
    make_image_folder(tmp_path / "pets")
    assert message in expect_refusal("train", *WORDS, "--set", change)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("policy", [RESIZED, AugmentPolicy(size=12)])
def test_a_gpu_gives_the_same_bits(policy: AugmentPolicy) -> None:
    images, ids = random_images(100, 40, 33), np.arange(100)
    on_cpu = bound(policy).apply(images, ids, 2)
    assert torch.equal(bound(policy).apply(images.cuda(), ids, 2).cpu(), on_cpu)
