"""Recording: the statistics, ids that survive, gaps and doubles that are refused, replays that count once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import datapruning as dp
from datapruning.api import scorers_of
from datapruning.errors import BadFile, BadValue, Mismatch
from datapruning.evidence import recorder as recorder_module
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.track import PRESENTED, RECORDED, Track, statistics

KEPT = PRESENTED[:-1]
"""Without `change`, which has tests of its own."""


def logits_of(seed: int, count: int, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Random logits and labels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, generator=generator) * 3, torch.randint(0, classes, (count,), generator=generator)


def test_statistics_against_float64() -> None:
    logits, targets = logits_of(0, 50)
    z, y = logits.double().numpy(), targets.numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    found = {name: value.numpy() for name, value in statistics(logits, targets).items()}
    rows = np.arange(50)
    np.testing.assert_allclose(found["loss"], -np.log(p[rows, y]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["entropy"], -(p * np.log(p)).sum(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["confidence"], p.max(1), rtol=1e-5)
    np.testing.assert_allclose(found["gap"], np.diff(np.sort(p, axis=1)[:, -2:]).squeeze(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["error_norm"], np.linalg.norm(p - np.eye(5)[y], axis=1), rtol=1e-5, atol=1e-7)
    others = np.where(np.eye(5)[y] == 1, -np.inf, z).max(1)
    np.testing.assert_allclose(found["margin"], z[rows, y] - others, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["correct"], z.argmax(1) == y)


def test_a_tiny_loss_is_exact() -> None:
    loss = float(statistics(torch.tensor([[25.0, 0.0]]), torch.tensor([0]))["loss"])
    assert loss == pytest.approx(np.log1p(np.exp(-25.0)), rel=1e-3)


def test_error_norm_keeps_its_precision_where_the_network_is_certain() -> None:
    logits = torch.tensor([[12.0, 0.0]])
    exact = np.sqrt(2) / (1 + np.exp(12.0))
    assert float(statistics(logits, torch.tensor([0]))["error_norm"]) == pytest.approx(exact, rel=1e-2)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(1, 25), st.integers(0, 99))
def test_any_batching_and_order_records_the_same(
    tmp_path_factory: pytest.TempPathFactory, total: int, batch: int, seed: int
) -> None:
    logits, targets = logits_of(seed, total)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    tracks = [Track(tmp_path_factory.mktemp("track"), 1, total, KEPT) for _ in range(2)]
    at_once, in_parts = Recorder(tracks[0]), Recorder(tracks[1])
    at_once.begin(0)
    at_once.update(logits, targets, np.arange(total))
    at_once.end()
    in_parts.begin(0)
    for ids in order.split(batch):
        in_parts.update(logits[ids], targets[ids], ids)
    in_parts.end()
    for track in tracks:
        track.check_whole(0)
    for name in KEPT:
        np.testing.assert_allclose(tracks[0][name], tracks[1][name], rtol=1e-6)


def test_buffers_of_any_size_record_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = logits_of(3, 100)
    found = []
    for rows in (7, 16, 100, 8192):
        monkeypatch.setattr(recorder_module, "BUFFER_ROWS", rows)
        track = Track(tmp_path / str(rows), 1, 100, KEPT)
        recorder = Recorder(track)
        recorder.begin(0)
        for ids in torch.arange(100).split(10):
            recorder.update(logits[ids], targets[ids], ids)
        recorder.end()
        track.check_whole(0)
        found.append(track["margin"][0].copy())
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_gaps_doubles_and_foreign_ids_are_named(tmp_path: Path) -> None:
    track = Track(tmp_path, 2, 10, KEPT)
    logits, targets = logits_of(1, 3)
    recorder = Recorder(track)
    recorder.begin(0)
    recorder.update(logits, targets, np.array([0, 1, 2]))
    recorder.end()
    with pytest.raises(BadValue, match="7 samples were not recorded in epoch 0, the first is id 3"):
        track.check_whole(0)
    track.check_whole(0, np.array([2, 0]))
    recorder.update(logits, targets, np.array([4, 5, 1]))
    with pytest.raises(BadValue, match="id 1 was recorded twice in epoch 0"):
        recorder.end()
    recorder.begin(1)
    recorder.update(logits, targets, np.array([4, 5, 4]))
    with pytest.raises(BadValue, match="id 4 was recorded twice"):
        recorder.end()
    recorder.begin(1)
    recorder.update(logits, targets, np.array([4, 5, 10]))
    with pytest.raises(BadValue, match=r"lie in 0\.\.9"):
        recorder.end()


def test_float_ids_and_unequal_lengths_are_refused(tmp_path: Path) -> None:
    recorder = Recorder(Track(tmp_path, 1, 10, KEPT))
    logits, targets = logits_of(1, 3)
    recorder.begin(0)
    with pytest.raises(BadValue, match="whole numbers, got float32"):
        recorder.update(logits, targets, np.array([0, 1, 2], np.float32))
    with pytest.raises(BadValue, match="3 logits, 3 targets and 2 ids"):
        recorder.update(logits, targets, np.array([0, 1]))


def test_an_epoch_that_begins_again_counts_once(tmp_path: Path) -> None:
    track = Track(tmp_path, 1, 6, KEPT)
    recorder = Recorder(track)
    first, targets = logits_of(1, 6)
    second, _ = logits_of(2, 6)
    recorder.begin(0)
    recorder.update(first[:4], targets[:4], np.arange(4))  # killed here: nothing of it may stay
    recorder.begin(0)
    recorder.update(second, targets, np.arange(6))
    recorder.end()
    track.check_whole(0)
    np.testing.assert_array_equal(track["margin"][0], statistics(second, targets)["margin"].numpy())


def test_a_track_opens_again_and_refuses_another_shape(tmp_path: Path) -> None:
    track = Track(tmp_path, 2, 5, KEPT)
    track[RECORDED][1] = 1
    track.flush()
    assert Track(tmp_path, 2, 5, KEPT)[RECORDED][1].all()
    with pytest.raises(BadFile, match=r"is float32 \[2, 5\]; float32 \[3, 5\] is needed"):
        Track(tmp_path, 3, 5, KEPT)
    (tmp_path / "margin.npy").write_bytes(b"no array")
    with pytest.raises(BadFile, match="no whole array of evidence"):
        Track(tmp_path, 2, 5, KEPT)


def own_recording(folder: Path, epochs: int = 3, total: int = 40, final: bool = False) -> Path:
    """A recording of a plain loop, made with the public recorder."""
    recorder = dp.record(folder, "mine", total=total, epochs=epochs)
    for epoch in range(epochs):
        recorder.begin(epoch)
        logits, targets = logits_of(epoch, total)
        targets = torch.arange(total) % 5
        for ids in torch.randperm(total).split(7):
            recorder.update(logits[ids], targets[ids], ids)
        recorder.end()
    if final:
        recorder.begin_final()
        recorder.update(logits, targets, np.arange(total), features=logits)
        recorder.end()
    return recorder.finish()


def test_recording_inside_somebody_elses_loop(tmp_path: Path) -> None:
    plain = own_recording(tmp_path / "plain")
    assert set(scorers_of(plain)) == {"aum", "dual", "dyn-unc", "el2n-online", "forgetting", "random", "tdds"}
    found = dp.score_recording(plain, "aum")
    margins = [statistics(logits_of(e, 40)[0], torch.arange(40) % 5)["margin"].numpy() for e in range(3)]
    np.testing.assert_allclose(found.values, -np.mean(margins, 0), rtol=1e-5, atol=1e-6)
    whole = own_recording(tmp_path / "whole", final=True)
    more = {"loss", "entropy", "margin", "confidence", "herding", "k-center", "knn", "moderate", "prototypicality", "duplicates"}
    assert more <= set(scorers_of(whole))
    with pytest.raises(BadValue, match="reads SubsetEnsemble, which a recording of a training loop does not have"):
        dp.score_recording(whole, "memorization")
    with pytest.raises(BadValue, match=r"no evaluation pass after the last epoch; record one \(begin_final"):
        dp.score_recording(plain, "loss")
    with pytest.raises(BadFile, match="is no recording"):
        dp.score_recording(tmp_path, "aum")


def test_an_own_recording_with_gaps_or_other_labels_is_refused(tmp_path: Path) -> None:
    recorder = dp.record(tmp_path / "a", "mine", total=6, epochs=2)
    logits, targets = logits_of(0, 6)
    recorder.begin(0)
    recorder.update(logits, targets, np.arange(6))
    recorder.end()
    with pytest.raises(BadValue, match="6 samples were not recorded in epoch 1, the first is id 0"):
        recorder.finish()
    recorder.begin(1)
    recorder.update(logits, (targets + 1) % 5, np.arange(6))
    with pytest.raises(BadValue, match=r"sample id 0 has label \d in epoch 1 but had \d before"):
        recorder.end()
    with pytest.raises(BadValue, match="epoch 2 is outside this recording of 2 epochs"):
        recorder.begin(2)
    with pytest.raises(Mismatch, match="is a recording with total 6, not 7"):
        dp.record(tmp_path / "a", "mine", total=7, epochs=2)
    with pytest.raises(BadValue, match="say how many samples"):
        dp.record(tmp_path / "b", "mine", epochs=2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_name_their_ids(tmp_path: Path, bad: float) -> None:
    recorder = dp.record(tmp_path, "mine", total=6, epochs=1)
    logits, targets = logits_of(0, 6)
    logits[4, 1] = bad
    recorder.begin(0)
    recorder.update(logits, targets, np.arange(6))
    with pytest.raises(BadValue, match="1 samples have NaN or infinite logits in epoch 0: ids 4"):
        recorder.end()
