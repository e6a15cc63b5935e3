"""A disk that is really full, or read-only: one line that names the file, no partial file, and it resumes with space."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datapruning.errors import DiskFull, InvalidFile
from datapruning.io.atomic import write_text
from datapruning.io.disk_space import check_writable, disk_full_message, preallocate, report_disk_full
from datapruning.io.memmap import create_memmap
from tests.conftest import FAST
from tests.helpers.disks import requires_tmpfs, run_on_disk

assert requires_tmpfs  # a fixture

WRITERS = """
import numpy as np, torch
from types import SimpleNamespace
from datapruning.data.loaders.ffcv_cache import ensure_cache
from datapruning.data.dataset import Dataset, Split
from datapruning.data.augment.augmentation import Augmentation, AugmentPolicy
from datapruning.errors import DiskFull
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.recording import write_array
from datapruning.evidence.sample_stats import SampleStats
from datapruning.io.atomic import write_text
from datapruning.io.json import write_json
from datapruning.io.npz import write_npz
from datapruning.io.locks import exclusive_lock
from datapruning.io.memmap import create_memmap
from datapruning.runs.metrics import EpochRecord
from datapruning.runs.run import Run
from datapruning.training.checkpoint import Checkpoint, save_tensors
from datapruning.training.state import TrainState
from datapruning.teachers.soft_labels import SoftLabelCache

images = np.zeros((20000, 8, 8, 3), np.uint8)
labels = np.arange(20000) % 100
data = Dataset("d", Split(images, labels), Split(images[:100], labels[:100]), tuple(map(str, range(100))))
logits, targets, ids = torch.zeros(20000, 100), torch.from_numpy(labels), np.arange(20000)

def checkpoint():
    model = torch.nn.Linear(500, 500)
    Checkpoint(DISK / "c.safetensors").save(model, torch.optim.SGD(model.parameters(), 0.1), TrainState())

def changes():
    change = PredictionChange(DISK / "changes", 20000)
    change.start_epoch(0)
    change.update(logits, ids)

def soft_labels():
    teacher = SimpleNamespace(folder=DISK / "t", weights_hash="h", model=torch.nn.Linear(1, 1))
    cache = SoftLabelCache(teacher, Augmentation(AugmentPolicy(), (0.0,) * 3, (1.0,) * 3), "f", 2000, 100)
    cache.store._open("r+")
    cache.store.write(0, ids[1999::-1], cache.store.compress(logits[:2000]))

big = np.zeros(10**6, np.uint8)
record = EpochRecord(epoch=0, loss=1.0, train_accuracy=50.0, lr=0.1, step=1, seconds=1.0)
writers = {
    "text": lambda: write_text(DISK / "x.txt", "x" * 10**6),
    "json": lambda: write_json(DISK / "x.json", {"x": "x" * 10**6}),
    "npz": lambda: write_npz(DISK / "x.npz", {"x": big}, {}),
    "npy": lambda: write_array(DISK / "x.npy", big),
    "tensors": lambda: save_tensors(DISK / "x.safetensors", {"x": torch.zeros(10**6)}),
    "checkpoint": checkpoint,
    "metrics": lambda: Run(DISK / "run").write_metrics([record] * 10**4),
    "map": lambda: create_memmap(DISK / "map.npy", np.float32, (10**6,)),
    "track": lambda: SampleStats(DISK / "track", 10, 20000),
    "changes": changes,
    "soft labels": soft_labels,
    "cache": lambda: ensure_cache(data, "train", DISK),
}
messages = {}
for name, write in writers.items():
    try:
        write()
        messages[name] = "it was written"
    except DiskFull as error:
        messages[name] = str(error)
    messages[name] = [messages[name], [p for p in list_files() if p.endswith(".part")]]
print_result(messages)
"""
FILES = {
    "text": "x.txt", "json": "x.json", "npz": "x.npz", "npy": "x.npy", "tensors": "x.safetensors",
    "checkpoint": "c.safetensors", "metrics": "run/metrics.jsonl", "map": "map.npy", "track": "track/",
    "changes": "changes/0.npy", "soft labels": "logits.npy", "cache": "train.beton",
}  # fmt: skip


def test_every_writer_reports_a_full_disk_and_leaves_no_partial_file(requires_tmpfs: None, tmp_path: Path) -> None:
    messages = run_on_disk(tmp_path / "disk", 500, WRITERS)
    assert messages.keys() == FILES.keys()
    for name, (message, partial_files) in messages.items():
        assert partial_files == [], name
        assert message.count("\n") == 0
        assert str(tmp_path / "disk") in message
        assert FILES[name] in message
        assert ("the disk is full (" in message) or (name == "cache" and "MB are needed, " in message), message
        assert "; free some space, " in message, message


GROWING = """
import hashlib, io, shutil
from contextlib import redirect_stderr, redirect_stdout
from datapruning.cli.main import run
arguments = sys.argv[2:]
log = []
for size in range(100, 2000, 150):
    remount(size)
    stderr = io.StringIO()
    with redirect_stderr(stderr), redirect_stdout(io.StringIO()):
        code = run(arguments)
    log.append([code, stderr.getvalue(), [p for p in list_files() if p.endswith(".part")]])
    if code == 0:
        break
def product_hash():
    "The bytes that count."
    from datapruning.artifacts.scores import load_scores
    weights = next(DISK.rglob("students/*/model.safetensors"), None)
    content = weights.read_bytes() if weights else load_scores(next(DISK.rglob("scores/*.npz"))).values.tobytes()
    return hashlib.sha256(content).hexdigest()
resumed = product_hash()
shutil.rmtree(DISK / "dprune-runs")
remount(60000)
with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
    assert run(arguments) == 0
print_result([log, resumed, product_hash()])
"""


def settings(*more: str) -> list[str]:
    """Return options for fast settings."""
    return [word for change in (*FAST, *more) for word in ("--set", change)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--fraction", "0.3", "--kd-weight", "0.5", "--loader", "memory"],
        ["score", "--scorer", "forgetting", "--loader", "memory"],
    ],
    ids=["train", "score"],
)
def test_a_command_whose_disk_was_repeatedly_full_ends_with_the_same_bits(
    requires_tmpfs: None, tmp_path: Path, arguments: list[str]
) -> None:
    arguments = [*arguments, "--device", "cpu", *settings()]
    log, resumed, uninterrupted = run_on_disk(tmp_path / "disk", 100, GROWING, *arguments)
    assert [code for code, _, _ in log] == [2] * (len(log) - 1) + [0]
    assert len(log) > 2, "it was full more than once"
    for _, message, partial_files in log[:-1]:
        assert message.startswith("dprune: ")
        assert message.count("\n") == 1
        assert "the disk is full (" in message
        assert "; free some space, and the same command resumes" in message
        assert partial_files == []
    assert resumed == uninterrupted


READ_ONLY = """
import io
from contextlib import redirect_stderr, redirect_stdout
import datapruning.training.trainer as loop
import datapruning.training.distillation.training_run as training_run
import datapruning.evidence.proxies as proxies
import datapruning.evidence.members as members
from datapruning.cli.main import run
def trained(*arguments, **options):
    raise AssertionError("long work began")
training_run.Trainer = proxies.Trainer = members.Trainer = trained
remount("ro")
outcomes = []
for arguments in json.loads(sys.argv[2]):
    stderr = io.StringIO()
    with redirect_stderr(stderr), redirect_stdout(io.StringIO()):
        code = run(arguments)
    outcomes.append([code, stderr.getvalue()])
print_result(outcomes)
"""
COMMON = ["--loader", "memory", "--device", "cpu"]


def test_a_read_only_folder_is_refused_before_training(requires_tmpfs: None, tmp_path: Path) -> None:
    elsewhere = ["--workspace", str(tmp_path / "w")]
    small = settings("ensemble.num_members=4", "ensemble_member.epochs=1", "ensemble_member.model=tinynet8")
    commands: list[list[str]] = [
        ["score", *COMMON],
        ["score", *COMMON, *elsewhere, "--out", "deep/s.npz"],
        ["teach", *COMMON],
        ["teach", *COMMON, *elsewhere, "--out", "t"],
        ["train", "--fraction", "0.5", "--kd-weight", "0", *COMMON],
        ["train", "--fraction", "0.5", "--scorer", "el2n", *COMMON, *elsewhere, "--out", "student"],
        ["sweep", *COMMON, *elsewhere, "--out", "s"],
        ["label-issues", *COMMON, *elsewhere, "--out", "s.csv"],
        ["label-issues", "--scorer", "ensemble", *small, *COMMON, *elsewhere, "--probs", "p.npz"],
        ["influence", *small, *COMMON, *elsewhere, "--out", "i.npz"],
        ["cache"],
    ]
    outcomes = run_on_disk(tmp_path / "disk", 1000, READ_ONLY, json.dumps(commands))
    for words, (code, message) in zip(commands, outcomes, strict=True):
        assert code == 2, (words, message)
        assert message.count("\n") == 1, (words, message)
        assert "cannot be written (Read-only file system); name another" in message, (words, message)


# Without a disk of our own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_system_errors_of_full_disks_become_one_line(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(DiskFull, match=r"^.*f: .* \(.* free, 7 bytes are needed\); free some space") as error_info,
        report_disk_full(tmp_path / "f", 7),
    ):
        raise OSError(number, os.strerror(number))
    assert "\n" not in str(error_info.value)


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    for other in (OSError(errno.EIO, "x"), ValueError("No space"), OSError("x")):
        with pytest.raises(type(other)), report_disk_full(tmp_path):
            raise other
        assert disk_full_message(other) is None


def test_a_memory_map_is_allocated_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for sparse in (False, True):
        array = create_memmap(tmp_path / "m.npy", np.float32, (300, 1000), sparse=sparse)
        assert (array.shape, array.dtype, array.any()) == ((300, 1000), np.float32, np.False_)
        if hasattr(os, "posix_fallocate"):
            assert ((tmp_path / "m.npy").stat().st_blocks * 512 >= array.nbytes) is not sparse
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy", allow_pickle=False), array)

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(DiskFull, match=r"n\.npy: the disk is full \(.*, 1\.2 MB are needed"):
        create_memmap(tmp_path / "n.npy", np.float32, (300, 1000))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.npy"]


def test_without_posix_fallocate_a_map_has_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    assert create_memmap(tmp_path / "m.npy", np.uint8, (5, 7)).shape == (5, 7)
    with (tmp_path / "e").open("wb") as file:
        preallocate(file.fileno(), 3, 0)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    for write in (lambda: check_writable(tmp_path / "deep" / "x"), lambda: write_text(tmp_path / "x", "")):
        with pytest.raises(InvalidFile, match=r"x cannot be written \(Permission denied\); name another"):
            write()


def test_the_check_for_a_writable_path_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "deep" / "er.npz", tmp_path / "file"):
        check_writable(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
