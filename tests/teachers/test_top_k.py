"""Top-k logits: the kept classes have their exact probabilities at the temperature, the others share the rest evenly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datapruning.teachers.top_k import compress, expand
from datapruning.training.losses import kd_loss

N, CLASSES = 6, 40


def logits_of(seed: int, scale: float) -> Tensor:
    """Logits float32 [N, CLASSES]."""
    return scale * torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(1, CLASSES - 1), st.sampled_from([1.0, 2.5, 4.0]), st.sampled_from([0.5, 3.0]))
def test_kept_classes_have_their_probabilities_and_the_rest_is_even(
    seed: int, k: int, temperature: float, scale: float
) -> None:
    logits = logits_of(seed, scale)
    expanded = torch.from_numpy(expand(compress(logits, k, temperature), CLASSES))
    probs, stored = (torch.softmax(values / temperature, 1) for values in (logits, expanded))
    kept = logits.topk(k, 1).indices
    torch.testing.assert_close(stored.gather(1, kept), probs.gather(1, kept), rtol=1e-2, atol=1e-4)
    is_kept = torch.zeros_like(logits, dtype=torch.bool).scatter(1, kept, True)
    for row in range(N):
        others = stored[row, ~is_kept[row]]
        assert (others == others[0]).all()
        torch.testing.assert_close(others.sum(), probs[row, ~is_kept[row]].sum(), rtol=1e-2, atol=1e-4)


def test_the_kd_loss_is_that_of_the_full_logits_with_the_rest_spread_evenly() -> None:
    temperature, k = 4.0, 5
    teacher, student = logits_of(0, 3.0), logits_of(1, 3.0)
    probs, kept = torch.softmax(teacher / temperature, 1), teacher.topk(k, 1).indices
    rest = (1 - probs.gather(1, kept).sum(1, keepdim=True)) / (CLASSES - k)
    target = rest.expand(-1, CLASSES).scatter(1, kept, probs.gather(1, kept))
    log_student = torch.log_softmax(student / temperature, 1)
    expected = temperature**2 * (target * (target.log() - log_student)).sum(1)
    expanded = torch.from_numpy(expand(compress(teacher, k, temperature), CLASSES))
    stored = kd_loss(student, expanded[None], temperature, per_sample=True)
    torch.testing.assert_close(stored, expected, rtol=2e-3, atol=1e-3)
    other = torch.from_numpy(expand(compress(teacher, k, 1.0), CLASSES))
    assert not torch.allclose(kd_loss(student, other[None], temperature, per_sample=True), expected, rtol=2e-2)


def test_all_logits_are_kept_without_k() -> None:
    logits = logits_of(0, 3.0)
    stored = compress(logits, None, 4.0)
    assert stored.classes is None
    assert np.array_equal(expand(stored, CLASSES), logits.numpy().astype(np.float16).astype(np.float32))


def test_the_checksum_sees_classes_and_logits() -> None:
    stored = compress(logits_of(0, 3.0), 4, 4.0)
    assert stored.classes is not None
    swapped = stored._replace(classes=stored.classes[:, ::-1].copy())
    assert not np.array_equal(stored.bits.view(np.uint16), swapped.bits.view(np.uint16))
    assert stored.bits.shape == (N, 9)


@pytest.mark.parametrize("rows", [np.zeros(N, bool), np.arange(N) % 2 == 0])
def test_rows_are_selected_together(rows: np.ndarray) -> None:
    selected = compress(logits_of(0, 3.0), 4, 4.0).select(rows)
    assert selected.classes is not None
    assert len(selected.values) == len(selected.classes) == rows.sum()
