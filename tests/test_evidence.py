"""Recording: the statistics, ids that survive, gaps and doubles that are refused, replays that count once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.errors import BadFile, BadValue
from datapruning.evidence import recorder as recorder_module
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.track import RECORDED, STATISTICS, Track, statistics


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
    np.testing.assert_allclose(found["label_prob"], p[rows, y], rtol=1e-5)
    np.testing.assert_allclose(found["error_norm"], np.linalg.norm(p - np.eye(5)[y], axis=1), rtol=1e-5, atol=1e-7)
    others = np.where(np.eye(5)[y] == 1, -np.inf, z).max(1)
    np.testing.assert_allclose(found["margin"], z[rows, y] - others, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["correct"], z.argmax(1) == y)


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
    tracks = [Track(tmp_path_factory.mktemp("track"), 1, total) for _ in range(2)]
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
    for name in STATISTICS:
        np.testing.assert_allclose(tracks[0][name], tracks[1][name], rtol=1e-6)


def test_buffers_of_any_size_record_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = logits_of(3, 100)
    found = []
    for rows in (7, 16, 100, 8192):
        monkeypatch.setattr(recorder_module, "BUFFER_ROWS", rows)
        track = Track(tmp_path / str(rows), 1, 100)
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
    track = Track(tmp_path, 2, 10)
    logits, targets = logits_of(1, 3)
    recorder = Recorder(track)
    recorder.begin(0)
    recorder.update(logits, targets, np.array([0, 1, 2]))
    recorder.end()
    with pytest.raises(BadValue, match="7 samples were not recorded in row 0, the first is id 3"):
        track.check_whole(0)
    track.check_whole(0, np.array([2, 0]))
    recorder.update(logits, targets, np.array([4, 5, 1]))
    with pytest.raises(BadValue, match="id 1 was recorded twice in row 0"):
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
    recorder = Recorder(Track(tmp_path, 1, 10))
    logits, targets = logits_of(1, 3)
    recorder.begin(0)
    with pytest.raises(BadValue, match="whole numbers, got float32"):
        recorder.update(logits, targets, np.array([0, 1, 2], np.float32))
    with pytest.raises(BadValue, match="3 logits, 3 targets and 2 ids"):
        recorder.update(logits, targets, np.array([0, 1]))


def test_an_epoch_that_begins_again_counts_once(tmp_path: Path) -> None:
    track = Track(tmp_path, 1, 6)
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
    track = Track(tmp_path, 2, 5)
    track[RECORDED][1] = 1
    track.flush()
    assert Track(tmp_path, 2, 5)[RECORDED][1].all()
    with pytest.raises(BadFile, match=r"is float32 \[2, 5\]; float32 \[3, 5\] is needed"):
        Track(tmp_path, 3, 5)
    (tmp_path / "margin.npy").write_bytes(b"no array")
    with pytest.raises(BadFile, match="no whole array of evidence"):
        Track(tmp_path, 2, 5)


def test_recording_inside_somebody_elses_loop(tmp_path: Path) -> None:
    """The worked example of docs/scorers.md: a plain PyTorch loop over a DataLoader that yields ids."""
    from torch.utils.data import DataLoader, TensorDataset

    import datapruning as dp

    images, labels = torch.randn(40, 6), torch.randint(0, 3, (40,))
    loader = DataLoader(TensorDataset(images, labels, torch.arange(40)), batch_size=8, shuffle=True)
    model = torch.nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = dp.Recorder(dp.Track(tmp_path / "dynamics", rows=3, total=40))
    for epoch in range(3):
        recorder.begin(epoch)
        for x, y, ids in loader:
            logits = model(x)
            recorder.update(logits, y, ids)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        recorder.end()
    for row in range(3):
        recorder.track.check_whole(row)
    assert recorder.track["label_prob"].shape == (3, 40)
