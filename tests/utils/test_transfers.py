"""Copies to a device and back that nothing waits for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datapruning.utils.download import HostCopies, delayed
from datapruning.utils.upload import pinned, upload, upload_ahead
from tests.pretend_gpu.pretend import PretendGPU, torch_is_known

CPU = torch.device("cpu")


def test_on_a_cpu_memory_is_shared() -> None:
    array = np.arange(4)
    for tensor in (pinned(array, CPU), upload(array, CPU)):
        assert tensor.data_ptr() == array.ctypes.data
    (values,) = HostCopies({"x": torch.arange(3)}).get().values()
    assert values.tolist() == [0, 1, 2]
    assert [tensors[0].tolist() for tensors in upload_ahead([[torch.ones(1)], [torch.zeros(1)]], CPU)] == [[1.0], [0.0]]


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_delayed_items_come_in_order_after_so_many_more(count: int) -> None:
    taken = list[int]()
    for item in delayed((taken.append(i) or i for i in range(5)), count):  # type: ignore[func-returns-value]
        assert len(taken) == min(item + count + 1, 5)
    assert taken == list(range(5))


@pytest.mark.skipif(not torch_is_known(), reason="the pretend GPU was not tried with this version of torch")
def test_copies_to_a_gpu_are_ahead_and_from_pinned_memory() -> None:
    with PretendGPU() as gpu:
        device, taken = torch.device("cuda"), list[int]()
        items = ([pinned(np.full(2, i), device)] for i in range(4) if not taken.append(i))  # type: ignore[func-returns-value]
        for number, (tensor,) in enumerate(upload_ahead(items, device)):
            assert tensor.device.type == "cuda"
            assert len(taken) == min(number + 2, 4)
            assert HostCopies({"x": tensor}).get()["x"].tolist() == [number, number]
        assert not gpu.counts.syncs
        assert not gpu.counts.uploads
