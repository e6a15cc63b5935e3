"""How far predictions move: against float64, and which files stay on disk for a resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datapruning.evidence import recorder as recorder_module
from datapruning.evidence.changes import Changes
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.track import Track

TOTAL, CLASSES = 20, 5
TARGETS = torch.arange(TOTAL) % CLASSES


def logits_of(epoch: int) -> torch.Tensor:
    """Logits of all samples, some of them very sure."""
    return 4 * torch.randn(TOTAL, CLASSES, generator=torch.Generator().manual_seed(epoch))


def recorder_of(folder: Path, epochs: int) -> Recorder:
    """A recorder with changes, as a process that has just started has it."""
    return Recorder(Track(folder / "track", epochs, TOTAL), Changes(folder / "changes", TOTAL))


def record(recorder: Recorder, epoch: int, batch: int = 7) -> None:
    """An epoch, in an order of its own."""
    recorder.begin(epoch)
    logits = logits_of(epoch)
    for ids in torch.randperm(TOTAL, generator=torch.Generator().manual_seed(100 + epoch)).split(batch):
        recorder.update(logits[ids], TARGETS[ids], ids)
    recorder.end()


def files(folder: Path) -> set[str]:
    """What lies on disk."""
    return {path.name for path in (folder / "changes").glob("*")}


def expected(epoch: int, *, rounded: bool) -> NDArray[np.float64]:
    """In float64; `rounded`: the epoch before as float16, as it is kept."""
    now = torch.softmax(logits_of(epoch).double(), 1).numpy()
    before = torch.softmax(logits_of(epoch - 1).double(), 1).numpy()
    if rounded:
        before = before.astype(np.float16).astype(np.float64)
    return np.asarray(np.abs(now * np.log((now + 1e-8) / (before + 1e-8))).sum(1))


def test_three_epochs_against_float64(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 3)
    for epoch in range(3):
        record(recorder, epoch)
    found = recorder.track["change"]
    np.testing.assert_array_equal(found[0], np.zeros(TOTAL))
    for epoch in (1, 2):
        np.testing.assert_allclose(found[epoch], expected(epoch, rounded=True), rtol=2e-3, atol=1e-5)
        np.testing.assert_allclose(found[epoch], expected(epoch, rounded=False), rtol=5e-3, atol=2e-3)
        assert found[epoch].min() > 0


def test_predictions_that_stay_do_not_change(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 2)
    for epoch in range(2):
        recorder.begin(epoch)
        recorder.update(logits_of(0), TARGETS, np.arange(TOTAL))
        recorder.end()
    np.testing.assert_allclose(recorder.track["change"][1], np.zeros(TOTAL), atol=1e-3)  # half precision


def test_batches_and_buffers_play_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for k, (batch, rows) in enumerate([(20, 8192), (7, 7), (3, 8)]):
        monkeypatch.setattr(recorder_module, "BUFFER_ROWS", rows)
        recorder = recorder_of(tmp_path / str(k), 2)
        for epoch in range(2):
            record(recorder, epoch, batch)
        found.append(np.array(recorder.track["change"]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-6)


def test_without_checkpoints_the_epoch_before_alone_is_kept(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 4)
    seen = []
    for epoch in range(4):
        record(recorder, epoch)
        seen.append(files(tmp_path))
    assert seen == [{"0.npy"}, {"0.npy", "1.npy"}, {"1.npy", "2.npy"}, {"2.npy", "3.npy"}]


def test_the_epoch_of_the_last_checkpoint_is_kept_until_the_next(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 7)
    assert recorder.changes is not None
    seen = []
    for epoch in range(7):
        record(recorder, epoch)
        if epoch in (1, 4):
            recorder.changes.saved(epoch)
        seen.append({int(name.removesuffix(".npy")) for name in files(tmp_path)})
    assert seen == [{0}, {0, 1}, {1, 2}, {1, 2, 3}, {1, 3, 4}, {4, 5}, {4, 5, 6}]


@pytest.mark.parametrize("killed", [2, 3, 4, 5])
def test_a_run_that_was_killed_records_the_same(tmp_path: Path, killed: int) -> None:
    whole, broken = recorder_of(tmp_path / "whole", 6), recorder_of(tmp_path / "broken", 6)
    for epoch in range(6):
        record(whole, epoch)
    assert broken.changes is not None
    for epoch in range(killed):
        record(broken, epoch)
        if epoch == 1:
            broken.changes.saved(1)
    broken.begin(killed)  # and dies within this epoch
    broken.update(logits_of(killed)[:9], TARGETS[:9], np.arange(9))
    del broken
    resumed = recorder_of(tmp_path / "broken", 6)
    for epoch in range(2, 6):
        record(resumed, epoch)
    for row in range(6):
        resumed.track.check_whole(row)
    for name in resumed.track.statistics:
        np.testing.assert_array_equal(resumed.track[name], whole.track[name], err_msg=name)


def test_an_epoch_that_begins_again_forgets_its_first_try(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 3)
    record(recorder, 0)
    record(recorder, 1)
    once = np.array(recorder.track["change"][1])
    recorder.begin(1)
    recorder.update(logits_of(9)[:5], TARGETS[:5], np.arange(5))
    record(recorder, 1)
    np.testing.assert_array_equal(recorder.track["change"][1], once)


def test_nothing_is_left_after_the_run(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 2)
    record(recorder, 0)
    record(recorder, 1)
    assert recorder.changes is not None
    recorder.changes.remove()
    assert not (tmp_path / "changes").exists()
    recorder.changes.remove()  # again, and of a run that recorded nothing
    assert not (tmp_path / "changes").exists()
