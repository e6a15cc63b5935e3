"""TensorBoard, MLflow and Weights & Biases: logs read back with the trackers' own readers; runs do not change."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, MissingPackage, TimeLimitReached, UnknownName
from datapruning.runs.context import Context
from datapruning.runs.metrics import EpochRecord
from datapruning.runs.run import FinishedRun
from datapruning.runs.trackers import trackers as logs
from datapruning.runs.trackers.base import LogHandle, RunInfo
from datapruning.runs.trackers.trackers import TRACKERS, RunTracker, Trackers, find_tools
from datapruning.utils.time_limit import TimeLimit
from tests.conftest import CommandResult
from tests.helpers.results import student_result

MakeContext = Callable[..., Context]
TINY = ("train.model=tinynet8", "teacher.model=tinynet8", "teacher.epochs=3")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)


class RecordingTracker:
    """A tracker that records its calls and can fail."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fails = False
        self.lost = 0

    def start(self, run: RunInfo, log: str | None, num_epochs: int) -> LogHandle:
        self.calls.append(("start", log, num_epochs))
        return LogHandle("custom", "memory", max(0, num_epochs - self.lost))

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        if self.fails:
            raise ConnectionError("no network\nat all")
        self.calls.append((epoch, dict(numbers)))

    def log_result(self, epochs: int, numbers: Mapping[str, float]) -> None:
        self.calls.append(("result", epochs, dict(numbers)))

    def finish(self, finished: bool) -> None:
        self.calls.append(("end", finished))


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> RecordingTracker:
    """Replace every tracker by a recording one."""
    tool = RecordingTracker()
    monkeypatch.setattr(logs, "TRACKERS", dict.fromkeys(TRACKERS, lambda: tool))
    return tool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Start a run folder."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("[train]\nlr = 0.5\n")
    return run


LOGGED = {"test_accuracy": 50.0, "kept": 40, "total": 40, "kd_weight": 0.0, "steps": 4, "samples_seen": 80}


def record(epoch: int, loss: float) -> EpochRecord:
    return EpochRecord(epoch=epoch, loss=loss, train_accuracy=50.0, lr=0.1, step=4, seconds=1.5)


def numbers(loss: float) -> dict[str, float]:
    """Return the numbers that a tracker gets for such a record."""
    return {"loss": loss, "train_accuracy": 50.0, "lr": 0.1, "step": 4, "seconds": 1.5}


def opened(folder: Path) -> tuple[RunTracker, Any]:
    tracker = RunTracker(folder, Trackers(("wandb",), folder.parent))
    return tracker, tracker.open("config.toml", "metrics.jsonl", "result.json")


def scalars(run: FinishedRun) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of TensorBoard: (step, value) by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def metrics(run: FinishedRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def test_every_epoch_is_logged_once_after_kills(folder: Path, tracker: RecordingTracker) -> None:
    first, second, third = record(0, 2.0), record(1, 1.5), record(2, 1.0)
    run, block = opened(folder)
    with pytest.raises(KeyboardInterrupt), block:
        run.log_epochs([first])
        run.log_epochs([first, second])
        raise KeyboardInterrupt
    run, block = opened(folder)
    with block:
        run.log_epochs([first])  # the checkpoint was older than the log
        run.log_epochs([first, second])
        run.log_epochs([first, second, third])
        run.log_result(student_result())
        run.log_result(student_result(test_accuracy=51.0))
    assert tracker.calls == [
        ("start", None, 0), (0, numbers(2.0)), (1, numbers(1.5)), ("end", False),
        ("start", "custom", 2), (2, numbers(1.0)), ("result", 3, LOGGED), ("end", True),
    ]  # fmt: skip
    student_result().write(folder / "result.json")
    run, block = opened(folder)
    with block:
        pass
    assert len(tracker.calls) == 8, "a log that is whole is not opened again"


def test_epochs_lost_by_a_tracker_are_logged_again(folder: Path, tracker: RecordingTracker) -> None:
    rows = [record(epoch, float(epoch)).to_json() for epoch in range(3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, block = opened(folder)
    with block:
        pass
    tracker.lost = 2
    _, block = opened(folder)
    with block:
        pass
    assert [call[0] for call in tracker.calls] == ["start", 0, 1, 2, "end", "start", 1, 2, "end"]


def test_a_result_that_did_not_get_through_is_logged_again(
    folder: Path, tracker: RecordingTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    student_result().write(folder / "result.json")

    def breaks(finished: bool) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(tracker, "finish", breaks)
        _, block = opened(folder)
        with block:
            pass
    _, block = opened(folder)
    with block:
        pass
    assert [call[0] for call in tracker.calls] == ["start", "result", "start", "result", "end"]


def test_a_log_that_is_added_late_gets_earlier_epochs(folder: Path, tracker: RecordingTracker) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record(*row).to_json()) + "\n" for row in ((0, 2.0), (1, 1.0))))
    student_result().write(folder / "result.json")
    _, block = opened(folder)
    with block:
        assert tracker.calls[1:] == [(0, numbers(2.0)), (1, numbers(1.0)), ("result", 2, LOGGED)]


def test_a_failing_tracker_is_reported_and_completed_later(
    folder: Path, tracker: RecordingTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker.fails = True
    run, block = opened(folder)
    with block:
        run.log_epochs([record(0, 2.0)])
        run.log_epochs([record(0, 2.0), record(1, 1.0)])
    (message,) = [line for line in capsys.readouterr().err.splitlines() if "fails" in line]
    assert "wandb fails (ConnectionError: no network)" in message
    assert "the run continues" in message
    tracker.fails = False
    run, block = opened(folder)
    with block:
        run.log_epochs([record(0, 2.0), record(1, 1.0)])
    assert [call for call in tracker.calls if type(call[0]) is int] == [(0, numbers(2.0)), (1, numbers(1.0))]


def test_broken_trials_are_named(folder: Path, tracker: RecordingTracker) -> None:
    (folder / "metrics.jsonl").write_text("{nonsense\n")
    _, block = opened(folder)
    with pytest.raises(InvalidFile, match=r"metrics\.jsonl cannot be read"), block:
        raise AssertionError("never reached")


def test_tensorboard_records_settings_epochs_and_result(make_context: MakeContext, small_dataset: Dataset) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = dp.teach(make_context(small_dataset, *TINY, log=["tensorboard"]))
    result, rows = scalars(run), metrics(run)
    for name in ("loss", "train_accuracy", "lr", "step"):
        assert result[name] == [(n, pytest.approx(row[name], rel=1e-6)) for n, row in enumerate(rows)]
    assert result["result/test_accuracy"] == [(2, pytest.approx(run.test_accuracy, rel=1e-6))]
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert 'model = "tinynet8"' in text


@pytest.mark.parametrize("tool", ["tensorboard", "mlflow"])
def test_a_stopped_run_resumes_in_the_same_log(make_context: MakeContext, small_dataset: Dataset, tool: str) -> None:
    pytest.importorskip(tool)
    context = make_context(small_dataset, *TINY, log=[tool])
    with pytest.raises(TimeLimitReached):
        dp.teach(replace(context, time_limit=TimeLimit(1e-6)))
    run = dp.teach(context)
    if tool == "tensorboard":
        assert [step for step, _ in scalars(run)["loss"]] == [0, 1, 2]
        assert len(list((run.folder / "tensorboard").iterdir())) == 2
    else:
        mlflow_record = mlflow_run(context, run)
        assert [entry.step for entry in mlflow_record["loss"]] == [0, 1, 2]


def mlflow_run(context: Context, run: FinishedRun) -> Any:
    """Return the run of MLflow: its parameters, its status, and the history of each metric."""
    from mlflow.tracking import MlflowClient

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient(tracking_uri=(context.workspace / "mlruns").resolve().as_uri())
    (experiment,) = [e for e in client.search_experiments() if e.name == "datapruning"]
    (mlflow_record,) = client.search_runs([experiment.experiment_id])
    assert mlflow_record.info.run_name == run.folder.name
    history = {name: client.get_metric_history(mlflow_record.info.run_id, name) for name in mlflow_record.data.metrics}
    return {"params": mlflow_record.data.params, "status": mlflow_record.info.status, **history}


def test_mlflow_records_settings_epochs_and_result(make_context: MakeContext, small_dataset: Dataset) -> None:
    pytest.importorskip("mlflow")
    context = make_context(small_dataset, *TINY, log=["mlflow"])
    run = dp.train(context, fraction=0.5, kd_weight=0, seed=3)
    mlflow_record, rows = mlflow_run(context, run), metrics(run)
    assert mlflow_record["status"] == "FINISHED"
    for name in ("loss", "lr"):
        assert [(m.step, m.value) for m in mlflow_record[name]] == [(n, row[name]) for n, row in enumerate(rows)]
    assert [m.value for m in mlflow_record["result/test_accuracy"]] == [run.test_accuracy]
    assert [m.value for m in mlflow_record["result/kd_weight"]] == [0.0]
    assert (mlflow_record["params"]["train.model"], mlflow_record["params"]["run.seed"]) == ("tinynet8", "3")


def test_wandb_stays_offline_and_records_settings_epochs_and_result(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    run = dp.teach(make_context(small_dataset, *TINY, log=["wandb"]))
    records, rows = wandb_rows(run)
    assert [(row["loss"], row["lr"]) for row in rows] == [(row["loss"], row["lr"]) for row in metrics(run)]
    assert [row["_step"] for row in rows] == [0, 1, 2]
    config = {item.key: json.loads(item.value_json) for item in records["run"][0].run.config.update}
    assert config["teacher"]["model"] == "tinynet8"
    summary = {i.key: json.loads(i.value_json) for r in records["summary"] for i in r.summary.update}
    assert summary["test_accuracy"] == run.test_accuracy


def test_wandb_has_one_complete_offline_log_after_a_stop(make_context: MakeContext, small_dataset: Dataset) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    context = make_context(small_dataset, *TINY, log=["wandb"])
    with pytest.raises(TimeLimitReached):
        dp.teach(replace(context, time_limit=TimeLimit(1e-6)))
    run = dp.teach(context)
    assert [row["_step"] for row in wandb_rows(run)[1]] == [0, 1, 2]


def wandb_rows(run: FinishedRun) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    """Return the records of the offline file, and its history rows."""
    (file,) = run.folder.glob("wandb/offline-run-*/*.wandb")
    for _ in range(600):  # wandb's own process writes the file, and outlives `finish`
        if "exit" in (records := wandb_records(file)):
            break
        time.sleep(0.05)
    rows = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in records["history"]]
    return records, rows


def wandb_records(file: Path) -> dict[str, list[Any]]:
    """The records of an offline file, by kind. It is a LevelDB log: blocks of 32 KiB, (checksum, length, part) a piece."""
    from wandb.proto import wandb_internal_pb2

    content, offset, payload = file.read_bytes(), 7, b""
    records: dict[str, list[Any]] = {}
    while offset < len(content):
        if 32768 - offset % 32768 < 7:
            offset += 32768 - offset % 32768
            continue
        _, length, part = struct.unpack_from("<IHB", content, offset)
        payload += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if part in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record.FromString(payload)
            records.setdefault(str(record.WhichOneof("record_type")), []).append(record)
            payload = b""
    return records


def test_a_log_changes_neither_the_name_nor_the_bits_of_a_run(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    bare = dp.teach(make_context(small_dataset, *TINY))
    logged = dp.teach(make_context(small_dataset, *TINY, workspace=tmp_path / "other", log=["tensorboard"]))
    assert bare.folder.name == logged.folder.name
    for name in ("model.safetensors", "config.toml"):
        assert (bare.folder / name).read_bytes() == (logged.folder / name).read_bytes()
    later = dp.teach(make_context(small_dataset, *TINY, log="tensorboard"))
    assert later.folder == bare.folder
    assert scalars(later)["loss"] == scalars(logged)["loss"]


def test_names_of_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_tools([]) == ()
    with pytest.raises(UnknownName, match="unknown log 'tensorbord': did you mean 'tensorboard'"):
        find_tools(["tensorbord"])
    for name in TRACKERS:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingPackage, match=rf"pip install 'datapruning-toolkit\[{name}\]'"):
            find_tools([name])
        monkeypatch.setitem(sys.modules, name, object())  # type: ignore[arg-type]
        assert TRACKERS[name].__name__.lower() == f"{name}tracker"
    assert find_tools(["mlflow, wandb", "tensorboard,wandb"]) == ("mlflow", "wandb", "tensorboard")


@pytest.mark.parametrize("verb", ["teach", "train", "sweep"])
def test_a_tool_that_is_missing_is_named_before_anything_is_written(
    expect_refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    fraction = ["--fraction", "0.5"] if verb == "train" else []
    line = expect_refusal(verb, *fraction, "--log", "mlflow")
    assert "mlflow is not installed" in line
    assert "(--log)" in line


@pytest.mark.slow
def test_trials_of_a_sweep_are_logged_by_its_workers(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    settings = [word for change in (*TINY, "train.epochs=1", "teacher.epochs=1") for word in ("--set", change)]
    command = dprune(
        "sweep", "--fractions", 0.5, "--kd-weights", 0, "--seeds", 1, "--loader", "memory", "--log", "tensorboard",
        "--threads", 1, "--out", "sweep", *settings,
    )  # fmt: skip
    assert command.code == 0, command.err
    assert len(list((tmp_path / "sweep").glob("runs/*/tensorboard/events*"))) == 1
