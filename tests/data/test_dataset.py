"""Datasets: the fingerprint, exact channel statistics, and invalid splits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile


def split_of(count: int, shape: tuple[int, int, int] = (4, 3, 3), seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, *shape)).astype(np.uint8), rng.integers(0, 3, count))


def data_of(train: Split | None = None, test: Split | None = None, names: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    train = split_of(20) if train is None else train
    test = split_of(10, seed=1) if test is None else test
    return Dataset("generated", train, test, names)


def with_pixel(split: Split) -> Split:
    images = split.images.copy()
    images[7, 1, 2, 0] ^= 1
    return Split(images, split.labels)


def with_label(split: Split) -> Split:
    labels = split.labels.copy()
    labels[7] = (labels[7] + 1) % 3
    return Split(split.images, labels)


def turned(split: Split) -> Split:
    """The same bytes with another shape."""
    count, height, width, channels = split.images.shape
    return Split(split.images.reshape(count, width, height, channels), split.labels)


OTHERS: dict[str, Callable[[], Dataset]] = {
    "a training pixel": lambda: data_of(train=with_pixel(split_of(20))),
    "a training label": lambda: data_of(train=with_label(split_of(20))),
    "a test pixel": lambda: data_of(test=with_pixel(split_of(10, seed=1))),
    "a test label": lambda: data_of(test=with_label(split_of(10, seed=1))),
    "a class name": lambda: data_of(names=("a", "b", "d")),
    "one more class": lambda: data_of(names=("a", "b", "c", "d")),
    "fewer training samples": lambda: data_of(train=Split(split_of(20).images[:-1], split_of(20).labels[:-1])),
    "fewer test samples": lambda: data_of(test=Split(split_of(10, seed=1).images[1:], split_of(10, seed=1).labels[1:])),
    "the shape": lambda: data_of(turned(split_of(20)), turned(split_of(10, seed=1))),
    "splits exchanged": lambda: data_of(split_of(10, seed=1), split_of(20)),
}


@pytest.mark.parametrize("part", OTHERS)
def test_the_fingerprint_changes_with(part: str) -> None:
    assert OTHERS[part]().fingerprint != data_of().fingerprint


def test_the_fingerprint_depends_only_on_content() -> None:
    split = split_of(20)
    strided = Split(np.repeat(split.images, 2, 0)[::2], np.repeat(split.labels, 2)[::2])
    fortran = Split(np.asfortranarray(split.images), split.labels)
    assert not strided.images.flags.c_contiguous
    assert {data_of(train=s).fingerprint for s in (split, strided, fortran)} == {data_of().fingerprint}
    assert Dataset("other name", split, split_of(10, seed=1), ("a", "b", "c")).fingerprint == data_of().fingerprint


def test_the_fingerprint_is_pinned(digits: Dataset) -> None:
    """All files made from the digits contain this fingerprint."""
    assert digits.fingerprint == "3cca60ad2b2a6a9a7ddc7f47de6deb2fe883ea1288560e6abeed34325f29ac42"


@given(st.integers(1, 60), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]), st.integers(0, 99))
@settings(max_examples=40)
def test_channel_stats_are_those_of_float64(count: int, height: int, width: int, channels: int, seed: int) -> None:
    train = split_of(count, (height, width, channels), seed)
    mean, std = data_of(train, split_of(2, (height, width, channels))).channel_stats
    pixels = train.images.astype(np.float64).reshape(-1, channels)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, np.maximum(pixels.std(0), 1), rtol=1e-9)


def test_channel_stats_cross_block_borders_and_do_not_overflow() -> None:
    images = np.full((5000, 2, 2, 1), 255, np.uint8)
    images[4500:] = 0
    train = Split(images, np.zeros(5000, np.int64))
    (mean,), (std,) = data_of(train, split_of(2, (2, 2, 1))).channel_stats
    assert mean == 255 * 0.9
    assert std == pytest.approx(255 * 0.3, rel=1e-12)


def test_one_colour_is_not_divided_by_zero() -> None:
    flat = Split(np.full((4, 2, 2, 1), 9, np.uint8), np.zeros(4, np.int64))
    assert data_of(flat, flat).channel_stats == ((9.0,), (1.0,))


def test_sizes_and_roles() -> None:
    data = data_of()
    assert (data.total, data.classes, len(data.test), data.train.shape) == (20, 3, 10, (4, 3, 3))
    assert data.split("train") is data.train
    assert data.split("test") is data.test


IMAGES, LABELS = split_of(5).images, np.array([0, 1, 2, 0, 1])
WRONG: dict[str, tuple[Split, str]] = {
    "floats": (Split(IMAGES.astype(np.float32), LABELS), "images are float32"),  # type: ignore[arg-type]
    "no channels": (Split(IMAGES[..., 0], LABELS), r"images are uint8 \[5, 4, 3\]"),
    "empty": (Split(IMAGES[:0], LABELS[:0]), r"images are uint8 \[0, 4, 3, 3\]"),
    "too few labels": (Split(IMAGES, LABELS[:4]), r"labels are int64 \[4\] for 5 images"),
    "one-hot labels": (Split(IMAGES, np.eye(3, dtype=np.int64)[LABELS]), r"labels are int64 \[5, 3\]"),
    "short labels": (Split(IMAGES, LABELS.astype(np.int32)), "labels are int32"),  # type: ignore[arg-type]
    "a label too large": (Split(IMAGES, np.array([0, 1, 2, 3, 0])), "label 3 is outside the 3 classes"),
    "a negative label": (Split(IMAGES, np.array([0, 1, 2, -1, 0])), "label -1 is outside the 3 classes"),
}


@pytest.mark.parametrize("defect", WRONG)
@pytest.mark.parametrize("role", ["train", "test"])
def test_wrong_splits_are_refused_and_named(defect: str, role: str) -> None:
    wrong, message = WRONG[defect]
    with pytest.raises(InvalidFile, match=f"generated, {role} split: {message}"):
        data_of(**{role: wrong})


def test_splits_of_different_shapes_are_refused() -> None:
    with pytest.raises(InvalidFile, match=r"train images are \(4, 3, 3\), test images \(3, 4, 3\)"):
        data_of(test=turned(split_of(10)))
