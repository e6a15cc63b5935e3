"""Sample statistics and the recorder: values, ids, and refused gaps and duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.errors import InvalidFile, InvalidValue
from datapruning.evidence import recorder as recorder_module
from datapruning.evidence import sample_stats as track_module
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.sample_stats import EVAL_STATISTICS, RECORDED, TRAIN_STATISTICS, SampleStats, statistics
from tests.helpers.evidence_cases import make_sample_stats, random_logits, softmax


def recorder_of(folder: Path, rows: int, total: int, names: tuple[str, ...] = EVAL_STATISTICS) -> Recorder:
    """Make a recorder of new sample statistics, with prediction changes if they are stored."""
    return Recorder(
        SampleStats(folder / "track", rows, total, names),
        PredictionChange(folder / "c", total) if "change" in names else None,
    )


def test_statistics_against_float64() -> None:
    logits, targets = random_logits(0, 50)
    z, y, rows = logits.double().numpy(), targets.numpy(), np.arange(50)
    p = softmax(z)
    stats = {name: value.numpy() for name, value in statistics(logits, targets).items()}
    assert tuple(stats) == EVAL_STATISTICS
    np.testing.assert_allclose(stats["loss"], -np.log(p[rows, y]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["error_norm"], np.linalg.norm(p - np.eye(5)[y], axis=1), rtol=1e-5, atol=1e-7)
    others = np.where(np.eye(5)[y] == 1, -np.inf, z).max(1)
    np.testing.assert_allclose(stats["margin"], z[rows, y] - others, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(stats["correct"], z.argmax(1) == y)
    np.testing.assert_allclose(stats["entropy"], -(p * np.log(p)).sum(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats["confidence"], p.max(1), rtol=1e-5)
    np.testing.assert_allclose(stats["gap"], np.sort(p, 1)[:, -1] - np.sort(p, 1)[:, -2], rtol=1e-4, atol=1e-6)


def test_only_requested_statistics_are_computed() -> None:
    assert set(statistics(*random_logits(0, 3), TRAIN_STATISTICS)) == {"loss", "margin", "error_norm", "correct"}
    assert set(statistics(*random_logits(0, 3), ("error_norm",))) == {"error_norm"}


def test_small_losses_and_errors_keep_their_precision() -> None:
    stats = statistics(torch.tensor([[12.0, 0.0], [40.0, 0.0]]), torch.tensor([0, 0]))
    assert float(stats["error_norm"][0]) == pytest.approx(np.sqrt(2) / (1 + np.exp(12.0)), rel=1e-2)
    assert stats["loss"].tolist() == pytest.approx(np.log1p(np.exp([-12.0, -40.0])), rel=1e-6)


def test_the_probability_of_the_label_is_read_from_the_loss(tmp_path: Path) -> None:
    p = np.array([[0.25, 1.0], [0.5, 1e-6]])
    track = make_sample_stats(tmp_path, label_prob=p)
    np.testing.assert_allclose(track["label_prob"], p, rtol=1e-5)
    (_, (blocks,)) = next(track.blocks("label_prob", rows=slice(1)))
    np.testing.assert_allclose(blocks, p[:1], rtol=1e-5)
    with pytest.raises(InvalidValue, match="'entropy' is not recorded; there are loss, margin"):
        track["entropy"]


def test_blocks_are_all_samples_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_module, "BLOCK_SAMPLES", 3)
    values = np.arange(16.0).reshape(2, 8)
    parts = [block[0] for _, block in make_sample_stats(tmp_path, margin=values).blocks("margin")]
    assert [part.shape[1] for part in parts] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(parts, 1), values)


@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(1, 25), st.integers(0, 99))
def test_any_batching_and_order_records_the_same(
    tmp_path_factory: pytest.TempPathFactory, total: int, batch: int, seed: int
) -> None:
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    tracks = []
    for parts in ([torch.arange(total)], order.split(batch)):
        recorder = recorder_of(tmp_path_factory.mktemp("track"), 2, total, TRAIN_STATISTICS)
        for epoch in range(2):
            logits, targets = random_logits(seed + epoch, total)
            recorder.start_epoch(epoch)
            for ids in parts:
                recorder.update(logits[ids], targets[ids], ids)
            recorder.end_epoch()
            recorder.stats.check_complete(epoch)
        tracks.append(recorder.stats)
    for name in TRAIN_STATISTICS:
        np.testing.assert_allclose(tracks[0][name], tracks[1][name], rtol=1e-5, atol=1e-6)


def test_buffers_of_any_size_record_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = random_logits(3, 100)
    recordings = []
    for rows in (7, 16, 100, 8192):
        monkeypatch.setattr(recorder_module, "BUFFER_ROWS", rows)
        recorder = recorder_of(tmp_path / str(rows), 1, 100)
        recorder.start_epoch(0)
        for ids in torch.arange(100).split(10):
            recorder.update(logits[ids], targets[ids], ids)
        recorder.end_epoch()
        recorder.stats.check_complete(0)
        recordings.append(recorder.stats["margin"][0].copy())
    for other in recordings[1:]:
        np.testing.assert_array_equal(recordings[0], other)


def test_half_precision_logits_and_int32_labels_are_recorded(tmp_path: Path) -> None:
    logits, targets = random_logits(3, 9)
    recorder = recorder_of(tmp_path, 1, 9)
    recorder.start_epoch(0)
    recorder.update(logits.bfloat16().requires_grad_(), targets.int(), np.arange(9, dtype=np.int32))
    recorder.end_epoch()
    np.testing.assert_array_equal(recorder.stats["margin"][0], statistics(logits.bfloat16(), targets)["margin"])


@pytest.mark.parametrize("names", [EVAL_STATISTICS, TRAIN_STATISTICS], ids=["looked", "presented"])
def test_gaps_doubles_and_foreign_ids_are_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    recorder = recorder_of(tmp_path, 2, 10, names)
    logits, targets = random_logits(1, 3)

    def record(epoch: int, *ids: int) -> None:
        recorder.start_epoch(epoch)
        recorder.update(logits, targets, np.array(ids))
        recorder.end_epoch()

    record(0, 0, 1, 2)
    with pytest.raises(InvalidValue, match="7 samples were not recorded in epoch 0, the first is id 3"):
        recorder.stats.check_complete(0)
    recorder.stats.check_complete(0, np.array([2, 0]))
    recorder.update(logits, targets, np.array([4, 5, 1]))
    with pytest.raises(InvalidValue, match="id 1 was recorded twice in epoch 0"):
        recorder.end_epoch()
    for ids, message in [
        ((4, 5, 4), "id 4 was recorded twice"),
        ((4, 5, 10), r"lie in 0\.\.9"),
        ((-1, 5, 6), r"got -1\.\.6"),
    ]:
        with pytest.raises(InvalidValue, match=message):
            record(1, *ids)


@pytest.mark.parametrize(
    ("logits", "targets", "ids", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(3).long(), np.zeros(3, np.float32), "whole numbers, got float32"),
        (torch.zeros(3, 4), torch.zeros(3).long(), np.arange(2), "3 logits, 3 targets and 2 ids"),
        (torch.zeros(3, 4), torch.zeros(3), np.arange(3), r"numbers of n classes; got \[3, 4\] and torch.float32"),
        (torch.zeros(3, 4), torch.zeros(3, 4).long(), np.arange(3), r"torch.int64 \[3, 4\]"),
        (torch.zeros(3, 1), torch.zeros(3).long(), np.arange(3), "at least 2 classes"),
    ],
)
def test_batches_of_the_wrong_shape_are_refused(tmp_path: Path, logits: Any, targets: Any, ids: Any, message: str) -> None:
    recorder = recorder_of(tmp_path, 1, 10)
    with pytest.raises(InvalidValue, match="no epoch has begun"):
        recorder.update(logits, targets, ids)
    recorder.start_epoch(0)
    with pytest.raises(InvalidValue, match=message):
        recorder.update(logits, targets, ids)


def test_invalid_labels_and_logits_are_named(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 1, 10)
    recorder.start_epoch(0)
    recorder.update(torch.zeros(2, 4), torch.tensor([3, -100]), np.array([8, 5]))
    with pytest.raises(InvalidValue, match=r"labels lie in 0\.\.3 .*sample id 5 has -100"):
        recorder.end_epoch()
    recorder.start_epoch(0)
    logits = torch.zeros(8, 4)
    logits[1, 2], logits[2:, 0] = torch.nan, torch.inf
    recorder.update(logits, torch.zeros(8).long(), np.arange(8))
    with pytest.raises(InvalidValue, match=r"7 samples have NaN or infinite logits in epoch 0: ids 1, 2, 3, 4, 5, \.\.\."):
        recorder.end_epoch()
    recorder.start_epoch(0)
    with pytest.raises(InvalidValue, match="gave 4 logits a sample before, and 5 now"):
        recorder.update(torch.zeros(1, 5), torch.zeros(1).long(), np.array([0]))
    with pytest.raises(InvalidValue, match=r"epoch 1 is outside this recording of 1 epochs \(0\.\.0\)"):
        recorder.start_epoch(1)


def test_a_repeated_epoch_counts_once(tmp_path: Path) -> None:
    recorder = recorder_of(tmp_path, 1, 6)
    first, targets = random_logits(1, 6)
    second, _ = random_logits(2, 6)
    recorder.start_epoch(0)
    recorder.update(first[:4], targets[:4], np.arange(4))  # killed here: nothing of it may stay
    recorder.start_epoch(0)
    recorder.update(second, targets, np.arange(6))
    recorder.end_epoch()
    recorder.stats.check_complete(0)
    np.testing.assert_array_equal(recorder.stats["margin"][0], statistics(second, targets)["margin"].numpy())


def test_a_track_opens_again_and_refuses_another_shape(tmp_path: Path) -> None:
    track = SampleStats(tmp_path, 2, 5)
    track[RECORDED][1] = 1
    track.flush()
    assert SampleStats(tmp_path, 2, 5)[RECORDED][1].all()
    with pytest.raises(InvalidFile, match=r"is float32 \[2, 5\]; float32 \[3, 5\] is needed"):
        SampleStats(tmp_path, 3, 5)
    (tmp_path / "margin.npy").write_bytes(b"no array")
    with pytest.raises(InvalidFile, match="holds no whole array of evidence"):
        SampleStats(tmp_path, 2, 5)
