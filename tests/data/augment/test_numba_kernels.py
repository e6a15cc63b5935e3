"""The CPU kernel and the torch operations: equal bits for every policy, shape and batch."""

from __future__ import annotations

import sys
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment import augmentation, mixing
from datapruning.data.augment import numba_kernels as fused
from datapruning.data.augment.augmentation import Augmentation

pytest.importorskip("numba", reason="numba is not installed")


def both(policy: AugmentPolicy, images: torch.Tensor, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the views of the kernel and of torch."""
    channels = images.shape[3]
    bound = Augmentation(policy, (120.3, 77.7, 10.1, 3.0)[:channels], (60.1, 33.3, 7.7, 255.0)[:channels])
    ids = np.arange(len(images)) * 31
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "MAX_TORCH_PIXELS", 0)
        by_kernel = bound.apply(images, ids, epoch)
        patch.setattr(augmentation, "compiled", lambda kernel: None)
        by_torch = bound.apply(images, ids, epoch)
    return by_kernel, by_torch


@settings(max_examples=80)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
    st.booleans(),
    st.integers(0, 14),
    st.sampled_from(["black", "reflect"]),
    st.integers(0, 14),
    st.integers(0, 99),
)
def test_the_kernel_gives_the_bits_of_the_torch_operations(
    shape: tuple[int, int, int, int], flip: bool, crop: int, padding: Literal["black", "reflect"], cutout: int, seed: int
) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))
    before = images.clone()
    by_kernel, by_torch = both(AugmentPolicy(flip=flip, crop=crop, padding=padding, cutout=cutout, seed=seed), images, seed)
    assert torch.equal(by_kernel, by_torch)
    assert by_kernel.stride() == by_torch.stride()
    assert torch.equal(images, before)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_windows_that_miss_the_image_are_black(channels: int) -> None:
    images = torch.full((200, 3, 2, channels), 255, dtype=torch.uint8)
    by_kernel, by_torch = both(AugmentPolicy(crop=9), images, 0)
    assert torch.equal(by_kernel, by_torch)
    assert (by_kernel.amax((1, 2, 3)) < 0).any()  # some see nothing of it


def test_images_that_are_not_contiguous_are_read_right() -> None:
    images = torch.randint(0, 256, (6, 3, 9, 8), dtype=torch.uint8).permute(0, 2, 3, 1)
    by_kernel, by_torch = both(AugmentPolicy(crop=2), images, 0)
    assert torch.equal(by_kernel, by_torch)


@settings(max_examples=40)
@given(st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)), st.integers(0, 99))
def test_boxes_are_pasted_as_by_the_torch_operations(shape: tuple[int, int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, shape[0] + 1))
    image_batches = (torch.from_numpy(rng.normal(size=(n, *shape[1:])).astype(np.float32)) for n in (shape[0], count))
    (images, others), rows = (p.permute(0, 3, 1, 2) for p in image_batches), np.sort(rng.permutation(shape[0])[:count])
    ends = [np.sort(rng.integers(0, length + 1, (count, 2)), axis=1) for length in shape[1:3]]
    boxes, reference = np.concatenate(ends, axis=1), images.clone()
    mixing.paste(images, others, rows, torch.from_numpy(rows), boxes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixing, "compiled", lambda kernel: None)
        mixing.paste(reference, others, rows, torch.from_numpy(rows), boxes)
    assert torch.equal(images, reference)


def test_without_numba_torch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert fused.compiled.__wrapped__(fused.augment) is None
    monkeypatch.setattr(augmentation, "compiled", fused.compiled.__wrapped__)
    images = torch.zeros(2, 4, 4, 1, dtype=torch.uint8)
    assert Augmentation(AugmentPolicy(), (0.0,), (1.0,)).apply(images, np.arange(2), 0).shape == (2, 1, 4, 4)


def test_where_numba_may_not_write_the_kernel_is_compiled_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    original = numba.njit

    def no_cache(function: object, *, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return original(function, **options)

    monkeypatch.setattr(numba, "njit", no_cache)
    assert fused.compiled.__wrapped__(fused.augment) is not None
