"""Every mode of training on the pretend GPU: it runs, no step waits for the GPU, and its launches stay within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from datapruning.data.loaders.loader import Batch
from datapruning.errors import Diverged, InvalidValue
from datapruning.evidence import recorder
from datapruning.training import nan_guard
from datapruning.training.losses import CrossEntropy, DistillationLoss, LossTerms
from tests.conftest import make_dataset
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.training import TRAIN, TeacherLogits, check_budget, gpu_context, measure_step, new_recorder, train

pytestmark = pytest.mark.slow
KD = DistillationLoss(TeacherLogits(), 0.5, 4.0)


class Mode(NamedTuple):
    """How a network is trained, and the kernels of a step, run as it is or as a CUDA graph; see `check_budget`."""

    options: dict[str, Any]
    kernels: int
    graph_kernels: int
    changes: tuple[str, ...] = ()


MODES = {
    "plain": Mode({}, 62, 14),
    "fp32": Mode({"training": TRAIN.replace(precision="fp32")}, 45, 14),
    "label_smoothing": Mode({"loss": CrossEntropy(0.1)}, 79, 14),
    "adamw": Mode({"training": TRAIN.replace(optimizer="adamw", lr=0.003)}, 63, 14),
    "muon": Mode({"training": TRAIN.replace(optimizer="muon")}, 174, 14),
    "lookahead": Mode({"training": TRAIN.replace(lookahead=0.5)}, 62, 14),
    "groups": Mode({"training": TRAIN.replace(decay_norms_biases=False, bias_lr_factor=2.0)}, 63, 14),
    "ema": Mode({"training": TRAIN.replace(ema=0.9)}, 64, 16),
    "clip_grad_norm": Mode({"training": TRAIN.replace(clip_grad_norm=1.0)}, 70, 14),
    "grad_accum_steps": Mode({"training": TRAIN.replace(batch_size=8, grad_accum_steps=2)}, 138, 23),
    "progressive_size": Mode({"training": TRAIN.replace(progressive_size=9)}, 63, 14),
    "infobatch": Mode({"training": TRAIN.replace(infobatch=0.25)}, 69, 17),
    "masks": Mode({"masked": True}, 64, 15),
    "kd": Mode({"loss": KD}, 86, 17),
    "kd, confidence": Mode({"loss": DistillationLoss(TeacherLogits(), 0.5, 4.0, confidence_weighting=True)}, 94, 17),
    "kd, infobatch": Mode({"loss": KD, "training": TRAIN.replace(infobatch=0.25)}, 93, 20),
    "cs-kd": Mode({"method": "cs-kd"}, 109, 18),
    "ps-kd": Mode({"method": "ps-kd"}, 92, 19),
    "dlb": Mode({"method": "dlb"}, 103, 19),
    "tf-kd": Mode({"method": "tf-kd"}, 84, 16),
    "tf-kd-self": Mode({"method": "tf-kd-self"}, 88, 17),
    "kd, dlb": Mode({"loss": KD, "method": "dlb"}, 153, 23),
    "cutmix": Mode({}, 88, 29, ("cutmix.prob=0.5",)),
    "mixup": Mode({}, 94, 35, ("mixup.prob=0.5",)),
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_a_step_does_not_wait_and_stays_within_its_budget(gpu: PretendGPU, tmp_path: Path, mode: Mode) -> None:
    context = gpu_context(tmp_path, *mode.changes)
    context = context.for_subset(np.arange(context.data.total))
    check_budget(measure_step(gpu, context, **mode.options), mode.kernels)


@pytest.mark.parametrize("loader", ["memory", "mmap", "ffcv"])
def test_every_loader_feeds_a_gpu_without_waiting(gpu: PretendGPU, tmp_path: Path, loader: str) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    check_budget(measure_step(gpu, gpu_context(tmp_path, loader=loader)), MODES["plain"].kernels)


def test_recording_adds_two_kernels_and_no_wait(gpu: PretendGPU, tmp_path: Path) -> None:
    context = gpu_context(tmp_path)
    plain = measure_step(gpu, context)
    recorded = measure_step(gpu, context, callbacks=[new_recorder(tmp_path, context)])
    check_budget(recorded, plain.kernels.total() + 2)
    assert recorded.kernels.total() <= plain.kernels.total() + 2


def test_statistics_of_a_full_buffer_are_not_waited_for(
    gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, arrays = gpu_context(tmp_path), []
    for number, rows in enumerate((8192, TRAIN.batch_size)):
        monkeypatch.setattr(recorder, "BUFFER_ROWS", rows)
        callback = new_recorder(tmp_path / str(number), context)
        step = measure_step(gpu, context, callbacks=[callback])
        assert not step.syncs, step.report()
        assert not step.uploads, step.report()
        arrays.append({name: np.array(array) for name, array in callback.stats.arrays.items()})
    for name, array in arrays[0].items():
        np.testing.assert_allclose(arrays[1][name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_losses_are_checked_without_waiting(gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nan_guard, "CHECK_EVERY", 1)
    step = measure_step(gpu, gpu_context(tmp_path))
    assert not step.syncs, step.report()
    for graph in (False, True):
        with pytest.raises(Diverged, match="the training loss became nan in epoch 0, at update 3 of the run"):
            train(gpu_context(tmp_path), TRAIN.replace(graph=graph), loss=NaNFrom(2))


class NaNFrom(CrossEntropy):
    """A loss that is no number from an update on, counted from 0."""

    def __init__(self, update: int) -> None:
        super().__init__()
        object.__setattr__(self, "_left", [update])

    def __call__(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
        terms, left = super().__call__(logits, batch, epoch), self._left  # type: ignore[attr-defined]
        left[0] -= 1
        return terms if left[0] >= 0 else terms.map(lambda term: term * torch.nan)


def test_in_fp32_the_weights_are_those_of_a_cpu(gpu: PretendGPU, tmp_path: Path) -> None:
    training = TRAIN.replace(precision="fp32", ema=0.9)
    context = gpu_context(tmp_path)
    on_gpu, _ = train(context, training, loss=KD)
    on_cpu, _ = train(gpu_context(tmp_path, device="cpu"), training, loss=KD)
    for (name, weight), expected in zip(on_gpu.state_dict().items(), on_cpu.state_dict().values(), strict=True):
        assert weight.device.type == "cuda"
        assert torch.equal(weight.cpu(), expected), name


@pytest.mark.parametrize("model", ["convnet", "fastnet16", "tinyresnet", "resnet18", "wrn-16-2", "vgg16-bn"])
def test_deterministic_refuses_no_network_of_the_package(gpu: PretendGPU, tmp_path: Path, model: str) -> None:
    data = make_dataset(8, side=8)
    training = TRAIN.replace(model=model, epochs=1, batch_size=4, deterministic=True)
    assert all(weight.isfinite().all() for weight in train(gpu_context(tmp_path, data=data), training)[0].parameters())


def test_deterministic_refuses_adaptive_pooling_in_one_line(gpu: PretendGPU, tmp_path: Path) -> None:
    context = gpu_context(tmp_path)
    layers = torch.nn.Conv2d(3, 3, 3), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 4)
    network = torch.nn.Sequential(*layers).to(context.device)
    with pytest.raises(InvalidValue, match="deterministic = true refuses an operation of this network: _adaptive_avg"):
        train(context, TRAIN.replace(deterministic=True), network=network)
