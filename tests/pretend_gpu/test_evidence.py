"""Evidence and scores made on the pretend GPU: in fp32, the bits of those made on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.evidence.recording import Recording
from datapruning.models.features import penultimate
from datapruning.runs.context import Context
from datapruning.scorers import find_scorers
from tests.conftest import make_dataset
from tests.pretend_gpu.pretend import PretendGPU
from tests.pretend_gpu.training import gpu_context

pytestmark = pytest.mark.slow
CHANGES = ("ensemble.num_members=16", "proxy.epochs=4")
FP32 = ("proxy.precision=fp32", "ensemble_member.precision=fp32", "teacher.precision=fp32", "train.precision=fp32")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the tests of this file share evidence."""
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def data() -> Dataset:
    """64 training images of 10x10 in 4 classes."""
    return make_dataset(64, side=10)


def contexts(workspace: Path, data: Dataset) -> list[Context]:
    """The same in fp32 on the GPU and on the CPU."""
    return [gpu_context(workspace, *CHANGES, *FP32, data=data, device=device) for device in ("cuda", "cpu")]


@pytest.mark.parametrize("scorer", find_scorers())
def test_every_scorer_gives_the_bits_of_a_cpu_in_fp32(gpu: PretendGPU, workspace: Path, data: Dataset, scorer: str) -> None:
    on_gpu, on_cpu = (dp.score(context, scorer) for context in contexts(workspace, data))
    np.testing.assert_array_equal(on_gpu.values, on_cpu.values)
    assert np.unique(on_gpu.values).size > 1


@pytest.mark.parametrize("scorer", ["el2n", "forgetting", "grand", "memorization", "tdds"])
def test_evidence_is_recorded_in_bf16(gpu: PretendGPU, workspace: Path, data: Dataset, scorer: str) -> None:
    scores = dp.score(gpu_context(workspace, *CHANGES, data=data), scorer)
    assert np.isfinite(scores.values).all()
    assert (scores.values != dp.score(contexts(workspace, data)[0], scorer).values).any(), "autocast had an effect"


def test_influence_and_label_issues_are_those_of_a_cpu_in_fp32(gpu: PretendGPU, workspace: Path, data: Dataset) -> None:
    on_gpu, on_cpu = (dp.influence(context) for context in contexts(workspace, data))
    np.testing.assert_array_equal(on_gpu.train_memorization, on_cpu.train_memorization)
    np.testing.assert_array_equal(on_gpu.top_train_id, on_cpu.top_train_id)
    np.testing.assert_array_equal(on_gpu.top_influence, on_cpu.top_influence)
    issues = [dp.find_label_issues(context, count=5).rows for context in contexts(workspace, data)]
    assert issues[0] == issues[1]


def record_own_loop(folder: Path, context: Context) -> Recording:
    """Record a loop of the user's own on the context's device, with ids and labels there, too."""
    data, device = context.data, context.device
    batches = np.array_split(np.arange(data.total), 4)
    recorder = dp.record(folder, data, epochs=2)
    model = context.new_model("tinynet8", 0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(2):
        recorder.start_epoch(epoch)
        for batch, images in context.views.read(context.loader("train"), batches, epoch):
            logits = model(images)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, batch.labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            recorder.update(logits, batch.labels, torch.from_numpy(batch.ids).to(device))
        recorder.end_epoch()
    recorder.start_final_evaluation()
    with penultimate(model.eval()) as features:
        for batch in context.loader("train").read(batches):
            logits = model(context.views.normalise(batch.images))
            recorder.update(logits, batch.labels, torch.from_numpy(batch.ids).to(device), features=features[0])
    recorder.end_epoch()
    recorder.finish()
    return dp.open_recording(folder)


def test_an_own_loop_on_a_gpu_is_recorded_as_one_on_a_cpu(
    gpu: PretendGPU, tmp_path: Path, workspace: Path, data: Dataset
) -> None:
    scores: list[Any] = []
    for context in contexts(workspace, data):
        record_own_loop(tmp_path / context.device.type, context)
        folder = tmp_path / context.device.type
        scores.append([dp.score_recording(folder, scorer).values for scorer in ("forgetting", "tdds", "entropy", "knn")])
    np.testing.assert_array_equal(*scores)
