"""A training on the pretend GPU that is killed and resumed: the same bits, and still no wait in a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datapruning.training.checkpoint import Checkpoint
from datapruning.training.losses import DistillationLoss
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.training import (
    MEASURED_EPOCH,
    TRAIN,
    CountSteps,
    TeacherLogits,
    gpu_context,
    new_recorder,
    train,
)

pytestmark = pytest.mark.slow
ADAMW = TRAIN.replace(optimizer="adamw", lr=0.003)
MODES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adamw, ema": {"training": ADAMW.replace(ema=0.9)},
    "adamw, lookahead": {"training": ADAMW.replace(lookahead=0.5)},
    "muon, lookahead": {"training": TRAIN.replace(optimizer="muon", lookahead=0.5)},
    "infobatch": {"training": TRAIN.replace(infobatch=0.5)},
    "kd, masks": {"loss": DistillationLoss(TeacherLogits(), 0.5, 4.0), "masked": True},
    "ps-kd": {"method": "ps-kd"},
    "dlb": {"method": "dlb"},
    "cs-kd": {"method": "cs-kd"},
}


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
def test_a_killed_run_resumes_on_the_gpu_with_the_same_bits_and_without_waiting(
    gpu: PretendGPU, tmp_path: Path, kill_and_resume: Callable[..., Any], options: dict[str, Any]
) -> None:
    context = gpu_context(tmp_path)
    expected, expected_state = train(context, **options)
    checkpoint = Checkpoint(tmp_path / "left.safetensors")
    train(context, **options, stop_epoch=MEASURED_EPOCH, save_final_to=checkpoint)
    count_steps = CountSteps(gpu)
    branched, _ = train(context, **options, init_from=checkpoint, callbacks=[count_steps])
    assert not count_steps.of_a_step.syncs, count_steps.of_a_step.report()
    saved = Checkpoint(tmp_path / "state.safetensors")
    resumed, state = kill_and_resume(lambda: train(context, **options, checkpoint=saved), 3, 8)
    for model in (branched, resumed):
        for (name, weight), value in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
            assert weight.device.type == "cuda"
            assert torch.equal(weight, value), name
    assert [row.loss for row in state.history] == [row.loss for row in expected_state.history]


def test_a_killed_recording_resumes_on_the_gpu_with_the_same_bits(
    gpu: PretendGPU, tmp_path: Path, kill_and_resume: Callable[..., Any]
) -> None:
    context = gpu_context(tmp_path)

    def record(folder: Path, **options: Any) -> dict[str, bytes]:
        recorder = new_recorder(folder, context)
        train(context, callbacks=[recorder], **options)
        return {name: np.asarray(array).tobytes() for name, array in recorder.stats.arrays.items()}

    checkpoint = Checkpoint(tmp_path / "state.safetensors")
    assert record(tmp_path / "a") == kill_and_resume(lambda: record(tmp_path / "b", checkpoint=checkpoint), 4, 9)


def test_a_checkpoint_copies_each_tensor_to_the_host_once(gpu: PretendGPU, tmp_path: Path) -> None:
    context = gpu_context(tmp_path)
    count_steps = CountSteps(gpu)
    model, _ = train(context, callbacks=[count_steps], checkpoint=Checkpoint(tmp_path / "state.safetensors", 0))
    sums_and_checks = 5  # the epoch's correct predictions and two losses; the guard's look at losses and at weights
    num_tensors = len(model.state_dict()) + len(list(model.parameters())) + sums_and_checks
    assert count_steps.of_a_step.syncs.total() <= num_tensors, count_steps.of_a_step.report()
