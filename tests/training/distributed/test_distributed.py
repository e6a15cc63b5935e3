"""Several processes: the same samples and scores as one process, and one clear error if one dies."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import datapruning as dp
from datapruning.cli import main
from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs
from datapruning.models import create_model
from datapruning.models.features import penultimate
from datapruning.models.normalization import InputRenormalization
from datapruning.runs.context import Context
from datapruning.runs.process_group import ProcessGroup, SharedLoader, SplitSpec
from datapruning.training.distributed.dispatch import shared_pass
from datapruning.training.distributed.messages import ModelSpec, StartTraining, ViewsSpec
from datapruning.training.distributed.sharding import local_rows, passes_of, shard_rows, shard_slices, shard_weights
from datapruning.training.distributed.start import under_torchrun
from datapruning.utils.records import Record, parse_record
from datapruning.utils.system import PROJECT_ROOT
from tests.helpers import two_processes as two

SECONDS = 500
RecordT = TypeVar("RecordT", bound=Record)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 12, 13, 128])
@pytest.mark.parametrize("processes", [2, 3, 5])
def test_every_row_is_in_exactly_one_part(size: int, processes: int) -> None:
    parts = shard_slices(size, processes)
    rows = [np.arange(size)[part].tolist() for part in parts]
    if size < 2 * processes:
        assert rows == [list(range(size))] * processes, "too few rows for all: everyone takes the whole batch"
        return
    assert np.concatenate(rows).tolist() == list(range(size))
    lengths = [len(item) for item in rows]
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= 2
    assert [local_rows(size, processes, k) for k in range(processes)] == lengths


def test_micro_batches_are_sharded_one_by_one() -> None:
    assert shard_rows([4, 4, 3], 2, 0).tolist() == [0, 1, 4, 5, 8, 9, 10]
    assert shard_rows([4, 4, 3], 2, 1).tolist() == [2, 3, 6, 7, 8, 9, 10]


def test_common_neighbours_count_once() -> None:
    assert shard_weights([4, 3], 2, 0).tolist() == [2, 2, 2, 2, 2]
    assert shard_weights([4, 3], 2, 1).tolist() == [2, 2, 0, 0, 0]


def test_passes_of_a_training_step() -> None:
    single_batch, parts = TrainConfig(batch_size=8), TrainConfig(batch_size=8, grad_accum_steps=2)
    assert passes_of(8, single_batch, None, trains_on_auxiliary=False) == [((8,), True)]
    assert passes_of(13, parts, None, trains_on_auxiliary=False) == [((8,), True), ((5,), True)]
    assert passes_of(17, parts, None, trains_on_auxiliary=False) == [((8,), True), ((9,), True)], "nobody is left alone"
    assert passes_of(8, single_batch, 5, trains_on_auxiliary=True) == [((8, 5), True)]
    assert passes_of(8, single_batch, 8, trains_on_auxiliary=False) == [((8,), True), ((8,), False)]


def test_one_process_never_loads_torch_distributed_code() -> None:
    code = "import sys, datapruning.api.train; print([m for m in sys.modules if m.startswith('datapruning')])"
    command = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SECONDS)
    assert "datapruning.runs.process_group" in command.stdout
    assert "datapruning.runs.channel" not in command.stdout
    assert "coordinator" not in command.stdout


def test_torchrun_is_known_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not under_torchrun()
    for name, value in variables(0, 1).items():
        monkeypatch.setenv(name, value)
    assert under_torchrun()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not under_torchrun()


def test_other_commands_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dprune", "sweep", "--fraction", "0.5"])
    assert main._run_distributed() == 2
    line = capsys.readouterr().err
    assert line == "dprune: torchrun is for teach, train, score; start dprune sweep without it, as one process\n"


def sent(record: RecordT) -> RecordT:
    """Return the record as another process receives it."""
    return parse_record(type(record), json.loads(json.dumps(record.to_json())), "process 0")


def test_networks_are_sent_as_plain_data(digits: Dataset) -> None:
    shape = digits.train.shape
    network = create_model("tinynet8", shape, 10, seed=3)
    for model in (network, InputRenormalization(network, [10.0], [20.0], ([30.0], [40.0]))):
        spec = ModelSpec.of(model)
        assert spec is not None
        copy = sent(spec).build(torch.device("cpu"))
        copy.load_state_dict(model.state_dict())
        images = torch.rand(4, 1, 8, 8)
        assert torch.equal(copy.eval()(images), model.eval()(images))
    assert ModelSpec.of(nn.Linear(3, 2)) is None
    assert ModelSpec.of(InputRenormalization(nn.Linear(3, 2), [1.0], [1.0], ([1.0], [1.0]))) is None


def test_views_and_settings_are_sent_as_plain_data(small_dataset: Dataset, make_context: Callable[..., Context]) -> None:
    kept = np.arange(0, 120, 2)
    views = replace(make_context(small_dataset).views, policy=AugmentPolicy(crop=0, size=6, scale=(0.5, 1.0), seed=4))
    images, ids = torch.from_numpy(small_dataset.train.images[:9]), np.arange(9)
    loader = make_context(small_dataset).loader("train")
    for one in (views, views.for_subset(kept, CutMixPolicy(prob=0.5), MixupPolicy(prob=0.4, alpha=0.3))):
        spec, arrays = ViewsSpec.of(one)
        other = sent(spec).build(arrays)
        assert torch.equal(other.apply(images, ids, 3), one.apply(images, ids, 3))
        (_, actual), (_, theirs) = (next(item.read(loader, [kept[:9]], 3)) for item in (one, other))
        assert torch.equal(actual, theirs)
    training = TrainConfig(milestones=(0.5, 0.8), schedule="step", clip_grad_norm=0.1 + 0.2)
    model = ModelSpec.of(create_model("tinynet8", (8, 8, 1), 10, seed=0))
    assert model is not None
    start = StartTraining(
        split=0, model=model, views=spec, threads=1, tensors={}, training=training, seed=3, masked=False,
        trains_on_auxiliary=False,
    )  # fmt: skip
    assert sent(start) == start


def test_a_network_with_hooks_is_not_sharded(small_dataset: Dataset, make_context: Callable[..., Context]) -> None:
    context = make_context(small_dataset)
    model = context.new_model("tinynet8", 0)
    loader = SharedLoader(context.loader("train"), ProcessGroup(cast(Any, None)), cast(SplitSpec, None), context.device)
    assert shared_pass(loader, model, 2) is not None
    assert shared_pass(loader, model, 1) is None, "one batch is nothing to deal"
    assert shared_pass(loader.loader, model, 2) is None
    with penultimate(model):
        assert shared_pass(loader, model, 2) is None
    assert shared_pass(loader, nn.Linear(3, 2), 2) is None


def variables(rank: int, port: int) -> dict[str, str]:
    """Set the environment variables of torchrun."""
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    return {
        **{key: str(value) for key, value in environment.items()},
        "MASTER_ADDR": "localhost",
        "TORCHELASTIC_RUN_ID": "test",
    }


def started(arguments: Callable[[int], list[str]]) -> list[tuple[int, str]]:
    """Return (exit code, stderr) of two processes without torchrun's supervision."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    begun = [
        subprocess.Popen(
            [sys.executable, "-m", two.__name__, *arguments(rank)], env={**os.environ, **variables(rank, port)},
            cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        return [(process.returncode, err) for process in begun for err in [process.communicate(timeout=SECONDS)[1]]]
    finally:
        for process in begun:
            process.kill()


def put_data(folder: Path) -> Path:
    """Write random images whose brightness depends on the class."""
    rng = np.random.default_rng(0)

    def split(size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = np.arange(size) % two.CLASSES
        noise = rng.integers(0, 100, (size, 8, 8, 3)) + 40 * labels[:, None, None, None]
        return noise.clip(0, 255).astype(np.uint8), labels

    (images, labels), (test_images, test_labels) = split(two.SAMPLES), split(30)
    folder.mkdir(exist_ok=True)
    np.savez(folder / "data.npz", train_images=images, train_labels=labels, test_images=test_images, test_labels=test_labels)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the results of two processes, and a teacher."""
    pytest.importorskip("ffcv", reason="FFCV is not installed")
    folder = put_data(tmp_path_factory.mktemp("together"))
    ends = started(lambda rank: ["compare", str(folder)])
    assert [code for code, _ in ends] == [0, 0], ends
    assert "process" not in ends[1][1], "nobody but process 0 speaks"
    return folder


@pytest.fixture(scope="module")
def both(together: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of one process and of two."""
    with np.load(together / "arrays.npz") as archive:
        return two.compare(put_data(tmp_path_factory.mktemp("alone"))), dict(archive)


@pytest.mark.parametrize("case", two.CASES)
def test_training_equals_that_of_one_process(case: str, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, dealt_out = ({key: value for key, value in item.items() if key.startswith(f"{case}.")} for item in both)
    assert one.keys() == dealt_out.keys()
    np.testing.assert_array_equal(dealt_out[f"{case}.seen"], one[f"{case}.seen"])
    if case != "infobatch":
        assert (one[f"{case}.seen"] == two.CASES[case].epochs).all(), "no padding, nobody left out"
    for name, value in one.items():
        np.testing.assert_allclose(dealt_out[name], value, rtol=1e-5, atol=2e-6, err_msg=name)


def test_evaluation_has_the_bits_of_one_process(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, dealt_out = both
    assert one["evaluation.ids"].tolist() == list(range(two.SAMPLES))[::-1]
    for name in ("ids", "labels", "logits", "features", "views"):
        np.testing.assert_array_equal(dealt_out[f"evaluation.{name}"], one[f"evaluation.{name}"])


def test_commands_give_the_results_of_one_process(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, dealt_out = both
    assert one["commands.counts"].tolist()[0] == 1
    assert dealt_out["commands.counts"].tolist() == [2, *one["commands.counts"].tolist()[1:]]
    for name in (name for name in one if name.startswith("commands.") and name != "commands.counts"):
        np.testing.assert_allclose(dealt_out[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_dead_process_ends_the_run_with_one_line_and_it_resumes_to_the_same_bits(together: Path, tmp_path: Path) -> None:
    killed_folder = put_data(tmp_path / "broken")
    (code, environment), (killed, _) = started(lambda rank: ["die" if rank else "teach", str(killed_folder)])
    assert (code, killed) == (1, -9)
    assert environment.splitlines()[-1] == (
        "dprune: another process of this run has ended; the same command resumes from the last checkpoint"
    )
    assert "Traceback" not in environment
    folder = killed_folder / "teacher"
    assert not (folder / "result.json").exists()
    copy = tmp_path / "copy"
    shutil.copytree(killed_folder, copy)
    with pytest.raises(IncompatibleInputs, match="was begun by 2 processes, not by 1: resume with as many"):
        two.teach(copy)
    assert [code for code, _ in started(lambda rank: ["teach", str(killed_folder)])] == [0, 0]
    weights_name = "model.safetensors"
    assert (folder / weights_name).read_bytes() == (together / "teacher" / weights_name).read_bytes()
    resumed, never = (json.loads((f / "teacher" / "result.json").read_text()) for f in (killed_folder, together))
    assert resumed["test_accuracy"] == never["test_accuracy"]
    assert resumed["early"] == never["early"] != []
    assert resumed["samples_seen"] == never["samples_seen"] == 3 * two.SAMPLES


def test_the_command_under_torchrun(tmp_path: Path) -> None:
    begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "datapruning"]
    arguments = ["--loader", "memory", "--set", "teacher.model=tinynet8", "--set", "teacher.epochs=1", "--out", "run"]
    command = subprocess.run(
        [*begin, "teach", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert command.returncode == 0, command.stderr
    assert command.stdout.startswith("test accuracy ")
    assert len(command.stdout.splitlines()) == 1, "process 0 alone prints"
    assert "processes = 2" in (tmp_path / "run" / "config.toml").read_text()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["processes"] == 2
    assert result["samples_seen"] == 1438


def test_the_result_records_one_process(small_dataset: Dataset, make_context: Callable[..., Context]) -> None:
    run = dp.teach(make_context(small_dataset, "teacher.epochs=1"))
    assert run.result.processes == 1
    assert "processes" not in (run.folder / "config.toml").read_text(), "manifests are what they were"
