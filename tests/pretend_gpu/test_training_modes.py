"""Every mode of training on the pretend GPU: it runs, no step waits for the GPU, and its launches stay within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from datapruning.errors import InvalidValue
from datapruning.training.losses import CrossEntropy, DistillationLoss
from tests.conftest import make_dataset
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.training import TRAIN, TeacherLogits, check_budget, gpu_context, measure_step, new_recorder, train

pytestmark = pytest.mark.slow
KD = DistillationLoss(TeacherLogits(), 0.5, 4.0)


class Mode(NamedTuple):
    """How a network is trained, and the kernels and copies to the GPU of a step; see `check_budget`."""

    options: dict[str, Any]
    kernels: int
    uploads: int
    changes: tuple[str, ...] = ()


MODES = {
    "plain": Mode({}, 81, 4),
    "fp32": Mode({"training": TRAIN.replace(precision="fp32")}, 64, 4),
    "label_smoothing": Mode({"loss": CrossEntropy(0.1)}, 98, 4),
    "adamw": Mode({"training": TRAIN.replace(optimizer="adamw", lr=0.003)}, 82, 4),
    "muon": Mode({"training": TRAIN.replace(optimizer="muon")}, 231, 4),
    "lookahead": Mode({"training": TRAIN.replace(lookahead=0.5)}, 81, 4),
    "groups": Mode({"training": TRAIN.replace(decay_norms_biases=False, bias_lr_factor=2.0)}, 82, 4),
    "ema": Mode({"training": TRAIN.replace(ema=0.9)}, 85, 4),
    "clip_grad_norm": Mode({"training": TRAIN.replace(clip_grad_norm=1.0)}, 89, 4),
    "grad_accum_steps": Mode({"training": TRAIN.replace(batch_size=8, grad_accum_steps=2)}, 157, 4),
    "progressive_size": Mode({"training": TRAIN.replace(progressive_size=9)}, 82, 4),
    "infobatch": Mode({"training": TRAIN.replace(infobatch=0.5)}, 88, 6),
    "masks": Mode({"masked": True}, 89, 4),
    "kd": Mode({"loss": KD}, 105, 5),
    "kd, confidence": Mode({"loss": DistillationLoss(TeacherLogits(), 0.5, 4.0, confidence_weighting=True)}, 113, 5),
    "kd, infobatch": Mode({"loss": KD, "training": TRAIN.replace(infobatch=0.5)}, 112, 7),
    "cs-kd": Mode({"method": "cs-kd"}, 147, 8),
    "ps-kd": Mode({"method": "ps-kd"}, 110, 5),
    "dlb": Mode({"method": "dlb"}, 141, 8),
    "tf-kd": Mode({"method": "tf-kd"}, 103, 4),
    "tf-kd-self": Mode({"method": "tf-kd-self"}, 107, 5),
    "kd, dlb": Mode({"loss": KD, "method": "dlb"}, 191, 10),
    "cutmix": Mode({}, 107, 8, ("cutmix.prob=0.5",)),
    "mixup": Mode({}, 113, 12, ("mixup.prob=0.5",)),
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_a_step_does_not_wait_and_stays_within_its_budget(gpu: PretendGPU, tmp_path: Path, mode: Mode) -> None:
    context = gpu_context(tmp_path, *mode.changes)
    context = context.for_subset(np.arange(context.data.total))
    check_budget(measure_step(gpu, context, **mode.options), mode.kernels, mode.uploads)


@pytest.mark.parametrize(("loader", "uploads"), [("memory", 4), ("mmap", 5), ("ffcv", 5)])
def test_every_loader_feeds_a_gpu_without_waiting(gpu: PretendGPU, tmp_path: Path, loader: str, uploads: int) -> None:
    if loader == "ffcv":
        pytest.importorskip("ffcv")
    check_budget(measure_step(gpu, gpu_context(tmp_path, loader=loader)), MODES["plain"].kernels, uploads)


def test_recording_adds_two_kernels_and_no_wait(gpu: PretendGPU, tmp_path: Path) -> None:
    context = gpu_context(tmp_path)
    plain = measure_step(gpu, context)
    recorded = measure_step(gpu, context, callbacks=[new_recorder(tmp_path, context)])
    check_budget(recorded, plain.kernels.total() + 2, plain.uploads.total())
    assert recorded.kernels.total() <= plain.kernels.total() + 2


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
