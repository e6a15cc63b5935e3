"""Training steps as CUDA graphs on the pretend GPU: the numbers of eager steps, in every mode, and one launch for most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datapruning.data.loaders.loader import Batch
from datapruning.errors import IncompatibleInputs, OutOfMemory
from datapruning.runs.context import Context
from datapruning.training import step_graph
from datapruning.training.callbacks import Callback
from datapruning.training.checkpoint import Checkpoint
from tests.conftest import SimulatedKill, make_dataset
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.test_training_modes import KD, MODES, Mode
from tests.pretend_gpu.training import CLASSES, TRAIN, check_budget, gpu_context, measure_step, new_recorder, train

pytestmark = pytest.mark.slow
SAMPLES = 88
"""Five full batches and a smaller one."""
NOT_CAPTURED = "a training step cannot be captured as a CUDA graph, and all steps run one operation at a time"


def graph_options(options: dict[str, Any]) -> dict[str, Any]:
    """The same training with graphs."""
    return {**options, "training": options.get("training", TRAIN).replace(graph=True)}


def context_of(tmp_path: Path, *changes: str) -> Context:
    """A context with `SAMPLES` samples, all of them kept."""
    data = make_dataset(SAMPLES, side=10, classes=CLASSES)
    return gpu_context(tmp_path, *changes, data=data).for_subset(np.arange(SAMPLES))


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_replayed_steps_have_the_numbers_of_eager_ones(
    gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    context, options = context_of(tmp_path, *mode.changes), graph_options(mode.options)
    before = gpu.counts.copy()
    captured, state = train(context, **options)
    replays = sum(count for place, count in gpu.counts.since(before).kernels.items() if place.endswith("replay"))
    eager_kinds = 2 if options["training"].progressive_size or options["training"].infobatch else 1
    num_small = 6 if options["training"].infobatch else 3  # of the last batches of epochs, up to two each
    assert replays >= 15 - 3 * eager_kinds - num_small, "most of the full batches"
    monkeypatch.setattr(step_graph, "WARM_UP_STEPS", 1000)
    eager, eager_state = train(context, **options)
    for (name, weight), expected in zip(captured.state_dict().items(), eager.state_dict().values(), strict=True):
        assert torch.equal(weight.cpu(), expected.cpu()), name
    assert [row.loss for row in state.history] == [row.loss for row in eager_state.history]
    assert [row.train_accuracy for row in state.history] == [row.train_accuracy for row in eager_state.history]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_a_replayed_step_stays_within_its_budget(gpu: PretendGPU, tmp_path: Path, mode: Mode) -> None:
    data = make_dataset(160, side=10, classes=CLASSES)
    context = gpu_context(tmp_path, *mode.changes, data=data).for_subset(np.arange(data.total))
    check_budget(measure_step(gpu, context, **graph_options(mode.options)), mode.graph_kernels)


def test_under_sgd_the_weights_are_those_without_graphs(gpu: PretendGPU, tmp_path: Path) -> None:
    context, training = context_of(tmp_path), TRAIN.replace(ema=0.9, clip_grad_norm=1.0)
    options = {"loss": KD, "masked": True, "training": training}
    with_graph, without = train(context, **graph_options(options))[0], train(context, **options)[0]
    for (name, weight), expected in zip(with_graph.state_dict().items(), without.state_dict().values(), strict=True):
        assert torch.equal(weight.cpu(), expected.cpu()), name


def test_dropout_draws_what_it_draws_without_graphs(gpu: PretendGPU, tmp_path: Path) -> None:
    context, weights = context_of(tmp_path), []
    for options in ({}, graph_options({})):
        network = nn.Sequential(nn.Dropout(0.5), context.new_model("tinynet8", 0))
        weights.append([p.cpu() for p in train(context, **options, network=network)[0].parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_recorded_evidence_is_that_without_graphs(gpu: PretendGPU, tmp_path: Path) -> None:
    context, arrays = context_of(tmp_path), []
    for number, options in enumerate(({}, graph_options({}))):
        recorder = new_recorder(tmp_path / str(number), context)
        train(context, **options, callbacks=[recorder])
        arrays.append({name: np.asarray(array).tobytes() for name, array in recorder.stats.arrays.items()})
    assert arrays[0] == arrays[1]


class Waiting(nn.Module):
    """A network whose host waits for the GPU in every step."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits * (2 if images.mean() > 0 else 1)


def test_what_cannot_be_captured_says_why_once_and_trains_on(
    gpu: PretendGPU, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context, weights = context_of(tmp_path), []
    for options in (graph_options({}), {}):
        network = Waiting(context.new_model("tinynet8", 0))
        weights.append(train(context, **options, network=network)[0].state_dict())
    lines = [line for line in capsys.readouterr().err.splitlines() if NOT_CAPTURED in line]
    assert len(lines) == 1
    assert "operation not permitted when stream is capturing (_local_scalar_dense, " in lines[0]
    assert all(torch.equal(value.cpu(), weights[1][name].cpu()) for name, value in weights[0].items())


def test_out_of_memory_in_a_step_gives_a_hint_and_loses_nothing(
    gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, checkpoint = context_of(tmp_path), Checkpoint(tmp_path / "state.safetensors")
    expected, _ = train(context)
    monkeypatch.setattr(Checkpoint, "due", lambda _: True)
    with pytest.raises(OutOfMemory, match=r"the GPU's memory is too small for 16 samples .* set train.batch_size=8 and"):
        train(context, checkpoint=checkpoint, callbacks=[RunOutOfMemory(10)])
    resumed, _ = train(context, checkpoint=checkpoint)
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(resumed.parameters(), expected.parameters(), strict=True))


class RunOutOfMemory(Callback):
    """Raises what torch raises where a GPU has no memory left, after so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        self._left -= 1
        if self._left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a capacity of ...")


def test_a_checkpoint_of_another_precision_or_device_is_refused(gpu: PretendGPU, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state.safetensors")
    train(context_of(tmp_path), stop_epoch=1, save_final_to=checkpoint)
    with pytest.raises(IncompatibleInputs, match=r"with the precision bf16, not fp32, .* resume with bf16, or delete it"):
        train(context_of(tmp_path), TRAIN.replace(precision="fp32"), checkpoint=checkpoint)
    with pytest.raises(IncompatibleInputs, match="with the device cuda, not cpu"):
        train(gpu_context(tmp_path, device="cpu"), checkpoint=checkpoint)


def test_a_cpu_has_no_graphs_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(gpu_context(tmp_path, device="cpu"), TRAIN.replace(graph=True, epochs=1))
    assert "test: train.graph has no effect on a CPU" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["plain", "muon", "infobatch", "ps-kd", "kd, dlb", "ema"])
def test_a_killed_training_resumes_with_the_bits_of_one_that_was_not(
    gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    context, options = context_of(tmp_path), graph_options(MODES[name].options)
    expected, _ = train(context, **options)
    monkeypatch.setattr(Checkpoint, "due", lambda _: True)
    checkpoint = Checkpoint(tmp_path / "state.safetensors")
    with pytest.raises(SimulatedKill):
        train(context, **options, checkpoint=checkpoint, callbacks=[KillAfter(10)])
    resumed, _ = train(context, **options, checkpoint=checkpoint)
    for (key, weight), value in zip(resumed.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.equal(weight.cpu(), value.cpu()), key


class KillAfter(Callback):
    """Ends the process after so many steps, as far as a test can."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def on_step_end(self, epoch: int, model: nn.Module) -> None:
        self._left -= 1
        if self._left < 0:
            raise SimulatedKill
