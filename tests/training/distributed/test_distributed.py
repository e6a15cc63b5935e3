"""Two processes of one run: what they train is what one trains at the same global batch, and both end if one fails."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import datapruning as dp
from datapruning.cli import main
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs
from datapruning.runs.context import Context
from datapruning.runs.metrics import read_metrics
from datapruning.training.distributed.start import under_torchrun
from datapruning.utils.system import PROJECT_ROOT
from tests.helpers import two_processes as two

SECONDS = 500
MAX_END_SECONDS = 30
"""From the moment that a process fails to the end of all."""
GONE = (
    "dprune: process 1 of 2 has ended, by a signal or for lack of memory; the same command resumes from the last checkpoint"
)


def test_torchrun_is_known_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not under_torchrun()
    for name, value in variables(0, 1).items():
        monkeypatch.setenv(name, value)
    assert under_torchrun()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not under_torchrun()


def test_other_commands_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dprune", "sweep", "--fraction", "0.5"])
    assert main.run_distributed() == 2
    line = capsys.readouterr().err
    assert line == "dprune: torchrun is for teach, train, score; start dprune sweep without it, as one process\n"


def test_the_result_records_one_process(small_dataset: Dataset, make_context: Callable[..., Context]) -> None:
    run = dp.teach(make_context(small_dataset, "teacher.epochs=1"))
    assert run.result.processes == 1
    assert "processes" not in (run.folder / "config.toml").read_text(), "manifests are what they were"


def variables(rank: int, port: int) -> dict[str, str]:
    """Set the environment variables of torchrun."""
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    return {**{key: str(value) for key, value in environment.items()}, "MASTER_ADDR": "localhost"}


def run_two(*arguments: str) -> list[tuple[int, str]]:
    """Return (exit code, stderr) of two processes without torchrun's supervision."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    begun = [
        subprocess.Popen(
            [sys.executable, "-m", two.__name__, *arguments], env={**os.environ, **variables(rank, port)},
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
    ends = run_two("compare", str(folder))
    assert [code for code, _ in ends] == [0, 0], ends
    assert ends[1][1] == "", "nobody but process 0 speaks"
    assert "2 processes with batches of 8, 16 samples an update; the learning rate stays 0.05" in ends[0][1]
    return folder


@pytest.fixture(scope="module")
def both(together: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of one process and of two."""
    with np.load(together / "arrays.npz") as archive:
        return two.compare(put_data(tmp_path_factory.mktemp("alone"))), dict(archive)


@pytest.mark.slow
@pytest.mark.parametrize("case", two.CASES)
def test_training_equals_that_of_one_process(case: str, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, of_two = ({key: value for key, value in item.items() if key.startswith(f"{case}.")} for item in both)
    assert one.keys() == of_two.keys()
    np.testing.assert_array_equal(of_two[f"{case}.seen"], one[f"{case}.seen"])
    if case != "infobatch":
        samples = two.EVEN_SAMPLES if case == "dlb" else two.SAMPLES
        assert (one[f"{case}.seen"][:samples] == two.CASES[case].epochs).all(), "no padding, nobody left out"
    for name, value in one.items():
        np.testing.assert_allclose(of_two[name], value, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("norms", [False, True])
def test_the_gradient_is_that_of_the_whole_batch(norms: bool, both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    whole, of_shards = (both[1][f"gradients.{norms}.{name}"] for name in ("alone", "together"))
    assert len(whole) > 400
    np.testing.assert_allclose(of_shards, whole, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_evaluation_has_the_bits_of_one_process(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, of_two = both
    assert one["evaluation.ids"].tolist() == list(range(two.SAMPLES))[::-1]
    for name in ("ids", "labels", "logits", "features", "views", "ragged"):
        np.testing.assert_array_equal(of_two[f"evaluation.{name}"], one[f"evaluation.{name}"])


@pytest.mark.slow
def test_commands_give_the_results_of_one_process(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, of_two = both
    assert one["commands.counts"].tolist()[0] == 1
    assert of_two["commands.counts"].tolist() == [2, *one["commands.counts"].tolist()[1:]]
    for name in (name for name in one if name.startswith("commands.") and name != "commands.counts"):
        np.testing.assert_allclose(of_two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "rank"), [("kill", 0), ("memory", 0), ("memory", 1)])
def test_a_process_that_fails_ends_both_and_the_run_resumes_to_the_same_bits(
    fault: str, rank: int, together: Path, tmp_path: Path
) -> None:
    folder = put_data(tmp_path / "failed")
    ends = run_two("teach", str(folder), fault, str(two.FAULT_STEP), str(rank))
    ended = time.time()
    run = folder / "teacher"
    assert ended - (run / "checkpoint" / "state.safetensors").stat().st_mtime < MAX_END_SECONDS
    assert not (run / "result.json").exists()
    (code, errors), (other_code, other_errors) = ends[rank], ends[1 - rank]
    assert other_code == 1
    assert "Traceback" not in errors + other_errors
    if fault == "kill":
        assert code == -9
        assert other_errors.splitlines()[-1] == GONE.replace("process 1", f"process {rank}")
    else:
        assert code == 1
        assert errors.splitlines()[-1].startswith(f"dprune: process {rank} of 2: teacher: ")
        assert "CUDA out of memory" in errors.splitlines()[-1]
        assert "has ended" not in errors + other_errors, "the cause is named, once"
        assert other_errors.count("dprune:") == 0
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with pytest.raises(IncompatibleInputs, match="was begun by 2 processes, not by 1: resume with as many"):
        two.teach(copy)
    assert [code for code, _ in run_two("teach", str(folder))] == [0, 0]
    assert (run / "model.safetensors").read_bytes() == (together / "teacher" / "model.safetensors").read_bytes()
    resumed, never = (json.loads((f / "teacher" / "result.json").read_text()) for f in (folder, together))
    for key in ("test_accuracy", "early", "samples_seen"):
        assert resumed[key] == never[key]
    assert resumed["early"] != []
    losses = [[row.loss for row in read_metrics(f / "teacher" / "metrics.jsonl")] for f in (folder, together)]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_evidence_and_tables_of_samples_resume_to_the_same_bits(tmp_path: Path) -> None:
    folders = [put_data(tmp_path / name) for name in ("whole", "killed")]
    assert [code for code, _ in run_two("record", str(folders[0]))] == [0, 0]
    for step in (12, 24, 20):  # in the middle of an epoch of each of the three trainings
        assert [code for code, _ in run_two("record", str(folders[1]), "kill", str(step), "1")] == [1, -9]
    assert [code for code, _ in run_two("record", str(folders[1]))] == [0, 0]
    names = [path.relative_to(folders[0]) for path in folders[0].glob("**/run-*/**/*.npy")]
    assert {name.name for name in names} >= {"change.npy", "correct.npy", "features.npy"}
    for name in names:
        assert np.array_equal(*(np.load(folder / name) for folder in folders)), name
    for run in ("ps-kd", "infobatch"):
        whole, killed = ((folder / run / "model.safetensors").read_bytes() for folder in folders)
        assert whole == killed, run


@pytest.mark.slow
def test_the_command_under_torchrun(tmp_path: Path) -> None:
    def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
        begin = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "datapruning"]
        tables = ("teacher", "train", "proxy")
        settings = [f"{table}.{key}" for table in tables for key in ("model=tinynet8", "epochs=2", "sync_batchnorm=true")]
        options = [word for setting in settings for word in ("--set", setting)]
        return subprocess.run(
            [*begin, *words, "--loader", "memory", *options], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip

    command = torchrun("train", "--fraction", "0.5", "--kd-weight", "auto", "--self-distill", "dlb", "--out", "run")
    assert command.returncode == 0, command.stderr
    assert command.stdout.startswith("test accuracy ")
    assert len(command.stdout.splitlines()) == 1, "process 0 alone prints"
    assert "processes = 2" in (tmp_path / "run" / "config.toml").read_text()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["processes"] == 2
    assert result["kd_weight_search"]["probes"]
    refused = torchrun("train", "--fraction", "3")
    assert [line for line in refused.stderr.splitlines() if line.startswith("dprune: ")] == [
        "dprune: fraction is the share of the training set that is kept, 0 < fraction <= 1; got 3 (did you mean 0.03?)"
    ]
    assert refused.returncode != 0
