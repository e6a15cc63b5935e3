"""Soft labels read ahead: those of every request, in order, for a CPU and for a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.training import label_table, soft_label_reader
from datapruning.training.soft_label_reader import Request, SoftLabelReader
from tests.pretend_gpu.pretend import PretendGPU, torch_is_known

REQUESTS: list[Request | None] = [(np.arange(k, k + 2), epoch) for k, epoch in ((0, 1), (2, 1), (4, 1), (6, 2))]
REQUESTS.insert(2, None)


class Labels:
    """Soft labels of two teachers with three classes, which say what was asked for; notes how often."""

    def __init__(self, num_views: int = 3) -> None:
        self.num_views, self.lookups = num_views, 0

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        self.lookups += 1
        ids, epoch = key
        logits = torch.from_numpy(np.stack([ids * 10.0 + epoch % self.num_views, -ids * 1.0])).float()
        return logits[..., None].expand(2, len(ids), 3)


def reader(labels: Labels | None, device: torch.device, num_views: int = 3, num_epochs: int = 3) -> SoftLabelReader:
    """A reader of the labels of eight samples."""
    return SoftLabelReader(labels, np.arange(8), num_views, num_epochs, device)


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
    for request, logits in zip(REQUESTS, reader(labels, device).read(REQUESTS), strict=True):
        if request is None:
            assert logits is None
        else:
            assert logits is not None
            assert logits.device.type == device.type
            assert torch.equal(logits.cpu(), Labels()[request])
    lookups = {1: 4, 4: 3, 100: 2}[rows]  # those of one epoch are looked up together
    assert labels.lookups == (4 if device.type == "cpu" else lookups)


def test_without_labels_there_are_none(device: torch.device) -> None:
    assert list(reader(None, device).read(REQUESTS)) == [None] * 5
    assert list(reader(Labels(), device).read([None, None])) == [None, None]


def test_an_error_of_a_lookup_reaches_the_caller(device: torch.device) -> None:
    class Missing(Labels):
        def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
            raise KeyError("no label for sample 3")

    with pytest.raises(KeyError, match="sample 3"):
        list(reader(Missing(), device).read(REQUESTS))


@pytest.mark.parametrize("share", [label_table.MAX_MEMORY_SHARE, 0.0])
def test_views_that_come_again_are_looked_up_once_where_a_gpu_has_memory_for_them(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(label_table, "MAX_MEMORY_SHARE", share)
    labels, orders = Labels(2), np.random.default_rng(0)
    table_reader = reader(labels, device, num_views=2, num_epochs=6)
    for epoch in range(6):
        ids = orders.permutation(8)[: 8 - epoch % 3]  # some epochs see fewer samples
        requests: list[Request | None] = [(ids[:4], epoch), (ids[4:], epoch)]
        for request, logits in zip(requests, table_reader.read(requests), strict=True):
            assert request is not None
            assert logits is not None
            assert torch.equal(logits.cpu(), Labels(2)[request])
    # view 1 is looked up again in epoch 3, which sees a sample that epoch 1 did not
    assert labels.lookups == (12 if device.type == "cpu" else 3 if share else 6)


def test_views_that_do_not_come_again_are_not_kept(device: torch.device) -> None:
    assert reader(Labels(), device, num_views=3, num_epochs=3).table is None
