"""How several processes share an epoch: every sample exactly once, in steps of the same number, without padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from datapruning.config.training import TrainConfig
from datapruning.data.batching import MIN_BATCH_SIZE
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.factory import gpu_of_process, resolve_device
from datapruning.errors import IncompatibleInputs, InvalidValue
from datapruning.experiments.workers.launcher import visible_gpus
from datapruning.experiments.workers.pool import LocalWorkers
from datapruning.models.training_check import check_training
from datapruning.runs.context import Context
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distributed.collectives import each_has_its_own
from datapruning.training.distributed.sharding import (
    global_batch_size,
    global_batch_sizes,
    global_batches,
    local_ids,
    micro_batch_shards,
    shard,
)
from datapruning.training.distributed.sync_batchnorm import sync_batch_norms
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import StepRNG
from datapruning.training.schedules import planned_samples, planned_steps
from datapruning.training.trainer import Trainer
from tests.helpers.pretended_processes import pretended

CONFIG = TrainConfig(model="tinynet8", batch_size=8, epochs=3)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("count", [6, 7, 16, 17, 47, 48, 49, 50, 51, 117, 1000])
@pytest.mark.parametrize("processes", [2, 3])
def test_every_sample_is_trained_on_once_an_epoch(count: int, processes: int, accumulate: int) -> None:
    config, ids = CONFIG.replace(grad_accum_steps=accumulate), np.arange(count) * 7
    per_process = []
    for rank in range(processes):
        with pretended(rank, processes):
            batches = global_batches(ids, config, 0, 1)
            assert [len(batch) for batch in batches] == global_batch_sizes(count, config)
            per_process.append([local_ids(batch, config) for batch in batches])
            parts = [[rows.stop - rows.start for rows in micro_batch_shards(len(batch), config)] for batch in batches]
            assert [sum(sizes) for sizes in parts] == [len(local) for local in per_process[-1]]
            assert min(min(sizes) for sizes in parts) >= MIN_BATCH_SIZE, "batch norm has nothing to normalise in one"
    assert len({len(batches) for batches in per_process}) == 1, "all make the same number of steps"
    for step in zip(*per_process, strict=True):
        sizes = [len(local) for local in step]
        assert max(sizes) - min(sizes) <= accumulate
    trained = np.concatenate([local for batches in per_process for local in batches])
    assert sorted(trained.tolist()) == ids.tolist()


def test_all_processes_have_as_many_micro_batches() -> None:
    config = CONFIG.replace(grad_accum_steps=2)
    for size in range(4, 60):
        counts = set()
        for rank in range(2):
            with pretended(rank, 2):
                counts.add(len(micro_batch_shards(size, config)))
        assert len(counts) == 1, size


@pytest.mark.parametrize("size", [0, 1, 5, 12, 13])
def test_shards_are_contiguous_and_as_equal_as_can_be(size: int) -> None:
    shards = [shard(size, process, 5) for process in range(5)]
    assert np.concatenate([np.arange(size)[rows] for rows in shards]).tolist() == list(range(size))
    lengths = [rows.stop - rows.start for rows in shards]
    assert max(lengths) - min(lengths) <= 1


def test_the_batch_size_is_of_each_process() -> None:
    alone = planned_steps(CONFIG, 640, 640), planned_samples(CONFIG, 640, 640)
    assert alone == (3 * 80, 3 * 640)
    with pretended(1, 4):
        assert global_batch_size(CONFIG) == 32
        assert planned_steps(CONFIG, 640, 640) == 3 * 20


def test_too_few_samples_for_so_many_processes_are_refused() -> None:
    with (
        pretended(0, 4),
        pytest.raises(InvalidValue, match="7 samples are too few for 4 processes, which take 2 or more each"),
    ):
        planned_steps(CONFIG, 7, 7)
    assert planned_steps(CONFIG, 7, 7) == 3


def test_processes_draw_other_random_numbers() -> None:
    drawn = []
    for process in (0, 1, 2):
        rng = StepRNG(torch.device("cpu"), 3, 0, 5, process)
        rng.seed_step(2)
        drawn.append(tuple(torch.rand(4).tolist()))
    assert len(set(drawn)) == 3
    StepRNG(torch.device("cpu"), 3, 0, 5).seed_step(2)
    assert tuple(torch.rand(4).tolist()) == drawn[0], "those of process 0 are those of a single one"


def test_a_checkpoint_of_another_number_of_processes_is_refused(
    small_dataset: Dataset, make_context: Callable[..., Context], tmp_path: Any
) -> None:
    context, checkpoint = make_context(small_dataset), Checkpoint(tmp_path / "state.safetensors")

    def trainer() -> Trainer:
        model = context.new_model("tinynet8", 0)
        return Trainer(
            model, context.loader("train"), np.arange(40), context.views, CONFIG, CrossEntropy(), seed=0, num_steps=10,
            description="test",
        )  # fmt: skip

    trainer().fit(checkpoint, save_final_to=checkpoint, stop_epoch=1)
    trainer().fit(checkpoint, stop_epoch=1)
    with pretended(0, 2), pytest.raises(IncompatibleInputs, match="was saved by 1 process, not 2: resume with as many"):
        trainer().fit(checkpoint)


def test_sync_batchnorm_needs_processes_and_batch_norms() -> None:
    shape = (8, 8, 1)
    with pytest.raises(InvalidValue, match=r"sync_batchnorm takes .* over several processes, and there is one"):
        check_training(CONFIG.replace(sync_batchnorm=True), shape, 10)
    with pretended(0, 2):
        check_training(CONFIG.replace(sync_batchnorm=True), shape, 10)
    with pytest.raises(InvalidValue, match="has no batch norm"), sync_batch_norms(torch.nn.Linear(3, 2)):
        pass
    with pytest.raises(InvalidValue, match="sync_batchnorm and compile do not go together"):
        CONFIG.replace(sync_batchnorm=True, compile=True)
    assert "sync_batchnorm" in CONFIG.unused_keys(), "runs without it are named as before"


@pytest.mark.parametrize(
    ("local_rank", "count", "gpu"),
    [("0", 8, 0), ("3", 8, 3), ("3", 1, 0), ("5", 2, 1)],
    ids=["first", "one each", "a launcher that shows each its own", "shared"],
)
def test_the_gpu_of_a_process(local_rank: str, count: int, gpu: int) -> None:
    assert gpu_of_process({"LOCAL_RANK": local_rank}, count) == gpu


def test_nccl_is_for_processes_with_gpus_of_their_own() -> None:
    assert each_has_its_own(["a GPU-1", "a GPU-2", "b GPU-1"])
    assert not each_has_its_own(["a GPU-1", "a GPU-1"])


@pytest.fixture
def pretend_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two GPUs, as far as torch says; the list of those that were made current."""
    current = list[int]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


def test_a_gpu_that_is_not_there_is_refused(pretend_gpus: list[int]) -> None:
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InvalidValue, match="there is no cuda:9: the devices here are cpu and cuda:0 to cuda:1"):
        resolve_device("cuda:9")


def test_each_process_takes_its_gpu(pretend_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cuda") == torch.device("cuda")
    assert pretend_gpus == []
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pretended(1, 2):
        assert resolve_device("auto") == torch.device("cuda"), "the same word in every process"
        assert pretend_gpus == [1]
        with pytest.raises(InvalidValue, match="each process takes a GPU of its own"):
            resolve_device("cuda:1")


def test_local_workers_are_spread_over_the_gpus(pretend_gpus: list[int], tmp_path: Any) -> None:
    assert visible_gpus({}) == ["0", "1"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "4,7"}) == ["4", "7"]
    workers = LocalWorkers(5, tmp_path, print, visible_gpus({"CUDA_VISIBLE_DEVICES": "4,7"}))
    handles: dict[str, Any] = workers.handles
    for number in range(5):
        shown = workers._gpu(f"worker-{number}")
        handles[f"worker-{number}"] = None
        assert shown == {"CUDA_VISIBLE_DEVICES": "47"[number % 2]}
    del handles["worker-1"]  # one that ended is replaced on its GPU
    assert workers._gpu("worker-5") == {"CUDA_VISIBLE_DEVICES": "7"}
    assert LocalWorkers(5, tmp_path, print)._gpu("worker-0") == {}
