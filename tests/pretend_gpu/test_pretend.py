"""The pretend GPU itself: values of a CPU, refusals and counts of a GPU, and planted faults that it has to catch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from datapruning.data.augment import augmentation
from datapruning.data.loaders.loader import Batch
from datapruning.training.ema import WeightEMA
from datapruning.training.losses import CrossEntropy, LossTerms
from tests.pretend_gpu import pretend
from tests.pretend_gpu.conftest import skip_unless_known
from tests.pretend_gpu.device_tensor import DeviceTensor, WrongDevice
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.test_training_modes import MODES
from tests.pretend_gpu.training import check_budget, gpu_context, measure_step, train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(3, device="cuda"),
        lambda: torch.tensor([1, 2], device="cuda:0"),
        lambda: torch.arange(4).to("cuda"),
        lambda: torch.ones(2).cuda(),
        lambda: torch.empty_like(torch.ones(2, device="cuda")),
        lambda: torch.ones(2, device="cuda")[:1] + 1,
        lambda: copy.deepcopy(torch.ones(2, device="cuda")),
        lambda: nn.Linear(2, 2).to("cuda").weight,
        lambda: torch.nn.functional.linear(torch.ones(1, 2, device="cuda"), torch.ones(2, 2, device="cuda")),
    ],
)
def test_tensors_report_the_gpu(gpu: PretendGPU, make: Callable[[], Tensor]) -> None:
    tensor = make()
    assert isinstance(tensor, DeviceTensor)
    assert tensor.device == torch.device("cuda", 0)
    assert tensor.is_cuda
    assert tensor.cpu().device.type == "cpu"


def test_gradients_are_those_of_a_cpu(gpu: PretendGPU) -> None:
    torch.manual_seed(0)
    on_cpu = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    images, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
    on_gpu = copy.deepcopy(on_cpu).to("cuda")
    for model, device in ((on_cpu, "cpu"), (on_gpu, "cuda")):
        optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(model(images.to(device)), labels.to(device)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for a, b in zip(on_cpu.state_dict().values(), on_gpu.state_dict().values(), strict=True):
        assert torch.equal(a, b.cpu())


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.cat([x, torch.ones(3)]),
        lambda x: torch.stack([x[0], torch.tensor(1.0)]),
        lambda x: x.index_select(0, torch.tensor([0])),
        lambda x: torch.ones(3)[x.long()],
        lambda x: x.numpy(),
        lambda x: cross_entropy(x[None], torch.tensor([0])),
        lambda x: torch._foreach_lerp_([x], [torch.ones(3)], 0.5),
        lambda x: x.to("cuda:1"),
        lambda x: torch.zeros(2, device=torch.device("cuda", 9)),
    ],
)
def test_what_a_gpu_refuses_is_refused(gpu: PretendGPU, use: Callable[[Tensor], object]) -> None:
    with pytest.raises((WrongDevice, RuntimeError)):
        use(torch.ones(3, device="cuda"))


def test_a_scalar_on_the_host_is_an_operand_but_not_of_a_fused_optimiser(gpu: PretendGPU) -> None:
    weight = nn.Parameter(torch.ones(3, device="cuda"))
    assert (weight + torch.tensor(1.0)).tolist() == [2, 2, 2]
    optimizer = torch.optim.AdamW([weight], 0.1, fused=True)
    weight.grad = torch.ones(3, device="cuda")
    optimizer.step()
    optimizer.state[weight]["step"] = torch.tensor(1.0)
    with pytest.raises(WrongDevice, match="_fused_adamw_"):
        optimizer.step()


@pytest.mark.parametrize(
    ("use", "syncs"),
    [
        (lambda x: x * 2, 0),
        (lambda x: x.item(), 1),
        (lambda x: bool(x > 0), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.to("cpu", non_blocking=True), 0),
        (lambda x: torch.empty(()).pin_memory().copy_(x, non_blocking=True), 0),
        (lambda x: torch.empty(()).copy_(x, non_blocking=True), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x[None].nonzero(), 1),
        (lambda x: x[None][x[None] > 0], 1),
        (lambda x: x.to("cuda"), 0),
        (lambda x: torch.ones(3).to("cuda"), 1),
        (lambda x: torch.ones(3).to("cuda", non_blocking=True), 0),
        (lambda x: torch.ones(3, device="cuda"), 0),
        (lambda x: torch.tensor([1.0], device="cuda"), 1),
        (lambda x: x.copy_(torch.tensor(2.0)), 1),
        (lambda x: nn.utils.clip_grad_norm_([x], 1.0), 0),
        (lambda x: torch.cuda.synchronize(), 1),
        (lambda x: torch.cuda.current_stream().record_event().synchronize(), 1),
        (lambda x: torch.cuda.default_stream().wait_stream(torch.cuda.current_stream()), 0),
    ],
)
def test_what_the_host_waits_for_is_counted(gpu: PretendGPU, use: Callable[[Tensor], object], syncs: int) -> None:
    x = torch.ones((), device="cuda")
    x.grad = torch.ones((), device="cuda")
    before = gpu.counts.copy()
    use(x)
    assert gpu.counts.since(before).syncs.total() == syncs


def test_only_pageable_copies_to_the_gpu_are_counted_with_their_bytes(gpu: PretendGPU) -> None:
    pinned, pageable = torch.ones(5).pin_memory(), torch.ones(5)
    assert pinned.is_pinned()
    assert not pageable.is_pinned()
    pinned.to("cuda", non_blocking=True)
    assert not gpu.counts.uploads
    pageable.to("cuda", non_blocking=True)
    assert (gpu.counts.uploads.total(), gpu.counts.upload_bytes.total()) == (1, 20)


def test_one_launch_serves_all_tensors_of_a_foreach_operation(gpu: PretendGPU) -> None:
    tensors = [torch.ones(2, device="cuda") for _ in range(5)]
    before = gpu.counts.copy()
    torch._foreach_mul_(tensors, 2.0)
    assert gpu.counts.since(before).kernels.total() == 1
    views = [tensor[:1].view(1, 1).expand(3, 1) for tensor in tensors]
    assert gpu.counts.since(before).kernels.total() == 1
    assert views[0].tolist() == [[2], [2], [2]]


def test_nothing_is_left_of_it(gpu: PretendGPU, tmp_path: Path) -> None:
    train(gpu_context(tmp_path))
    assert augmentation._row_stats.cache_info().currsize
    gpu.__exit__()
    assert not augmentation._row_stats.cache_info().currsize, "a real cuda:0 gets no tensors of the pretend one"
    assert type(torch.zeros(2) + 1) is Tensor
    gpu.__enter__()  # for the fixture to leave


def test_another_version_of_torch_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "99.1.0+cu999")
    with pytest.raises(pytest.skip.Exception, match=r"99\.1"):
        skip_unless_known()
    monkeypatch.setattr(torch, "__version__", f"{pretend.KNOWN_TORCH_VERSIONS[0]}.7+cpu")
    skip_unless_known()


# Planted faults


def test_a_planted_wait_in_the_step_is_caught(gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = CrossEntropy.__call__

    def waiting(self: CrossEntropy, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        terms = loss(self, logits, batch, epoch)
        assert terms.total.item() >= 0
        return terms

    check_budget(measure_step(gpu, gpu_context(tmp_path)), MODES["plain"].kernels)
    monkeypatch.setattr(CrossEntropy, "__call__", waiting)
    with pytest.raises(AssertionError, match=r"syncs: 1\n.*training/step\.py:\d+ _local_scalar_dense"):
        check_budget(measure_step(gpu, gpu_context(tmp_path)), MODES["plain"].kernels)


def test_a_planted_tensor_on_the_host_is_caught(gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = CrossEntropy.__call__

    def on_host(self: CrossEntropy, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        return loss(self, logits, batch._replace(labels=batch.labels.cpu()), epoch)

    monkeypatch.setattr(CrossEntropy, "__call__", on_host)
    with pytest.raises(WrongDevice, match=r"cuda:0 and cpu! \(nll_loss_forward, training/losses\.py:\d+\)"):
        measure_step(gpu, gpu_context(tmp_path))


def test_a_planted_loop_over_weights_is_caught(gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_by_one(self: WeightEMA) -> None:
        with torch.no_grad():
            for name, value in self._weights.items():
                self._averages[name].lerp_(value, 0.1) if value.is_floating_point() else None

    mode = MODES["ema"]
    monkeypatch.setattr(WeightEMA, "update", one_by_one)
    with pytest.raises(AssertionError, match="kernels at most"):
        check_budget(measure_step(gpu, gpu_context(tmp_path), **mode.options), mode.kernels)
