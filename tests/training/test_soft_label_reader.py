"""Soft labels read ahead: those of every request, in order, for a CPU and for a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.training import soft_label_reader
from datapruning.training.soft_label_reader import Request, read_soft_labels
from tests.pretend_gpu.pretend import PretendGPU, torch_is_known

REQUESTS: list[Request] = [(np.arange(k, k + 2), epoch) for k, epoch in ((0, 1), (2, 1), (4, 1), (6, 2))]
REQUESTS.insert(2, None)


class Labels:
    """Soft labels of two teachers with three classes, which say what was asked for; notes how often."""

    def __init__(self) -> None:
        self.lookups = 0

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        self.lookups += 1
        ids, epoch = key
        return torch.from_numpy(np.stack([ids * 10.0 + epoch, -ids * 1.0])).float()[..., None].expand(2, len(ids), 3)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """A CPU, or the pretend GPU."""
    if request.param == "cpu":
        yield torch.device("cpu")
    elif not torch_is_known():
        pytest.skip("the pretend GPU was not tried with this version of torch")
    else:
        with PretendGPU() as gpu:
            yield torch.device("cuda")
            assert not gpu.counts.uploads


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_every_request_gets_its_labels(device: torch.device, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(soft_label_reader, "ROWS", rows)
    labels = Labels()
    for request, logits in zip(REQUESTS, read_soft_labels(labels, REQUESTS, device), strict=True):
        if request is None:
            assert logits is None
        else:
            assert logits is not None
            assert logits.device.type == device.type
            assert torch.equal(logits.cpu(), Labels()[request])
    lookups = {1: 4, 4: 3, 100: 2}[rows]  # those of one epoch are looked up together
    assert labels.lookups == (4 if device.type == "cpu" else lookups)


def test_without_labels_there_are_none(device: torch.device) -> None:
    assert list(read_soft_labels(None, REQUESTS, device)) == [None] * 5
    assert list(read_soft_labels(Labels(), [None, None], device)) == [None, None]


def test_an_error_of_a_lookup_reaches_the_caller(device: torch.device) -> None:
    class Missing(Labels):
        def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
            raise KeyError("no label for sample 3")

    with pytest.raises(KeyError, match="sample 3"):
        list(read_soft_labels(Missing(), REQUESTS, device))
