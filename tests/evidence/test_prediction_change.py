"""Prediction changes: against float64, through the recorder, and with the same bits after kills."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.loader import Batch
from datapruning.errors import InvalidValue
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.sample_stats import RECORDED, TRAIN_STATISTICS, SampleStats
from datapruning.runs.context import Context
from datapruning.training.callbacks import Callback
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.losses import CrossEntropy
from datapruning.training.schedules import planned_steps
from tests.helpers.evidence_cases import Floats, learning_logits, record_dynamics, softmax
from tests.helpers.trainers import fit

PROXY = TrainConfig(model="tinynet8", epochs=6, batch_size=32, precision="fp32")


def changes_of(p: Floats, q: Floats) -> Floats:
    """sum_c |p_c log(p_c / q_c)|, with the epsilon of the released code."""
    return moved(p, np.log(q + 1e-8))


def moved(p: Floats, before: Floats) -> Floats:
    """Return the same from the logarithms of the previous epoch."""
    return np.asarray(np.abs(p * (np.log(p + 1e-8) - before)).sum(-1))


def test_changes_against_float64(tmp_path: Path) -> None:
    logits, labels = learning_logits(5, 40)
    changes = record_dynamics(tmp_path, logits, labels).train_passes[0]["change"]
    p = softmax(logits)
    stored = np.log(p + 1e-8).astype(np.float16).astype(np.float64)
    np.testing.assert_array_equal(changes[0], 0)  # nothing before the first epoch
    for epoch in range(1, 5):
        np.testing.assert_allclose(changes[epoch], moved(p[epoch], stored[epoch - 1]), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(changes[epoch], changes_of(p[epoch], p[epoch - 1]), rtol=2e-3, atol=2e-3)


def test_a_change_worked_by_hand(tmp_path: Path) -> None:
    changes = PredictionChange(tmp_path, 1)
    for epoch, p in enumerate([[0.5, 0.5], [0.25, 0.75]]):
        changes.start_epoch(epoch)
        change = changes.update(torch.tensor([p]).log(), np.array([0]))
        changes.end_epoch()
    half = -float(np.float16(np.log(0.5)))  # as it is kept
    assert float(change[0]) == pytest.approx(0.25 * (np.log(4) - half) + 0.75 * (half + np.log(0.75)), rel=1e-6)
    assert float(change[0]) == pytest.approx(0.25 * np.log(2) + 0.75 * np.log(1.5), rel=1e-3)


def test_small_moves_of_certain_predictions_are_not_rounded_away(tmp_path: Path) -> None:
    changes = PredictionChange(tmp_path, 1)
    p, q = (np.array([1 - wrong, wrong]) for wrong in (1e-4, 2e-4))
    for epoch, item in enumerate((q, p)):
        changes.start_epoch(epoch)
        change = changes.update(torch.from_numpy(np.log(item))[None], np.array([0]))
        changes.end_epoch()
    assert float(change[0]) == pytest.approx(float(changes_of(p, q)), rel=0.01)


def test_certain_and_equal_predictions_stay_finite(tmp_path: Path) -> None:
    changes = PredictionChange(tmp_path, 3)
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]])
    changes.start_epoch(0)
    changes.update(logits, np.arange(3))
    changes.start_epoch(1)
    change = changes.update(logits.roll(1, 0), np.array([1, 0, 2]))  # ids 1 and 0 stay as they are apart from the last
    assert torch.isfinite(change).all()
    changes.start_epoch(2)
    assert float(changes.update(logits[[2]], np.array([2]))[0]) < 20


def test_constant_predictions_change_only_by_rounding(tmp_path: Path) -> None:
    logits, labels = learning_logits(1, 50)
    changes = record_dynamics(tmp_path, np.repeat(logits, 4, 0), labels).train_passes[0]["change"]
    assert changes.max() < 1e-3


def test_at_most_three_files_and_those_needed_to_resume(tmp_path: Path) -> None:
    changes = PredictionChange(tmp_path, 4)

    def there() -> list[int]:
        return sorted(int(path.stem) for path in tmp_path.glob("*.npy"))

    def pass_over(epoch: int) -> None:
        changes.start_epoch(epoch)
        changes.update(torch.zeros(4, 2), np.arange(4))
        changes.end_epoch()

    for epoch in range(4):
        pass_over(epoch)
    assert there() == [2, 3]
    changes.saved(3)
    for epoch in (4, 5, 6):
        pass_over(epoch)
    assert there() == [3, 5, 6]
    changes = PredictionChange(tmp_path, 4)  # another process, from the checkpoint
    pass_over(4)
    assert there() == [3, 4]
    changes.remove()
    assert not tmp_path.exists()


def test_after_a_checkpoint_in_mid_epoch_that_epoch_and_the_one_before_stay(tmp_path: Path) -> None:
    changes, halves = PredictionChange(tmp_path, 4), (np.array([0, 1]), np.array([2, 3]))

    def there() -> list[int]:
        return sorted(int(path.stem) for path in tmp_path.glob("*.npy"))

    for epoch in range(6):
        changes.start_epoch(epoch)
        for ids in halves:
            changes.update(torch.full((2, 2), float(epoch)), ids)
            if epoch == 2 and ids is halves[0]:
                changes.flush()
                changes.saved(1)
        changes.end_epoch()
    assert there() == [1, 2, 4, 5]
    changes = PredictionChange(tmp_path, 4)  # another process, from the checkpoint
    changes.start_epoch(2, inside=True)
    changes.update(torch.tensor([[0.0, 3.0], [0.0, 3.0]]), halves[1])
    changes.end_epoch()
    assert there() == [1, 2]
    kept = np.exp(np.load(tmp_path / "2.npy").astype(np.float64))
    np.testing.assert_allclose(kept[:2], 0.5, rtol=1e-3, err_msg="what came before the checkpoint")
    assert (kept[2:, 1] > 0.9).all()


def test_an_epoch_without_the_one_before_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"epoch 3 cannot begin: the predictions of epoch 2 are missing.* saved\(epoch\)"):
        PredictionChange(tmp_path, 4).start_epoch(3)


class Killed(BaseException):
    """Interrupts a run."""


class Killer(Callback):
    """Raise once at each (epoch, position): "begin", "observe" (within the epoch), "end" or "saved".

    A checkpoint is saved after the epochs of `saves` alone.
    """

    def __init__(self, checkpoint: Checkpoint, saves: set[int], kills: list[tuple[int, str]]) -> None:
        self.checkpoint, self.saves, self.kills = checkpoint, saves, kills
        self.batches = 0

    def _at(self, epoch: int, location: str) -> None:
        if (epoch, location) in self.kills:
            self.kills.remove((epoch, location))
            raise Killed

    def on_epoch_start(self, epoch: int) -> None:
        self.batches = 0
        self._at(epoch, "begin")

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        self.batches += 1
        if self.batches == 2:
            self._at(epoch, "observe")

    def on_epoch_end(self, epoch: int, model: nn.Module) -> None:
        self.checkpoint.seconds = 0 if epoch in self.saves else 1e9
        self._at(epoch, "end")

    def on_checkpoint(self, epoch: int) -> None:
        self._at(epoch, "saved")


def run(context: Context, folder: Path, saves: set[int], kills: list[tuple[int, str]], first: bool) -> SampleStats:
    """Train and record; after each kill start again, as a new process would."""
    total, deaths = context.data.total, len(kills)
    for _ in range(deaths + 1):
        checkpoint = Checkpoint(folder / "checkpoint.safetensors")
        killer = Killer(checkpoint, saves, kills)
        track = SampleStats(folder / "track", PROXY.epochs, total)
        recording = Recorder(track, PredictionChange(folder / "changes", total))
        try:
            fit(
                context.new_model(PROXY.model, 0), context.loader("train"), np.arange(total), context.views, PROXY,
                CrossEntropy(0.0), seed=0, num_steps=planned_steps(PROXY, total, total), description="proxy",
                checkpoint=checkpoint,
                callbacks=[killer, recording] if first else [recording, killer],
            )  # fmt: skip
        except Killed:
            continue
        break
    assert kills == []
    return track


@pytest.mark.parametrize("first", [True, False], ids=["before-the-recorder", "after-the-recorder"])
@pytest.mark.parametrize(
    ("saves", "kills"),
    [
        (set(range(6)), [(0, "observe"), (2, "end"), (4, "saved")]),
        ({1, 3}, [(0, "end"), (1, "saved"), (3, "observe"), (3, "saved"), (5, "end")]),
        ({0}, [(0, "saved"), (4, "begin"), (5, "observe")]),
        (set(), [(5, "end")]),
    ],
    ids=["every-epoch", "some-epochs", "the-first-epoch", "never"],
)
def test_a_killed_recording_resumes_to_the_same_bits(
    make_context: Callable[..., Context], small_dataset: Dataset, tmp_path: Path, saves: set[int],
    kills: list[tuple[int, str]], first: bool,
) -> None:  # fmt: skip
    context = make_context(small_dataset)
    uninterrupted = run(context, tmp_path / "whole", set(range(6)), [], first)
    killed = run(context, tmp_path / "killed", saves, list(kills), first)
    assert uninterrupted["change"][1:].min() > 0
    assert killed[RECORDED].all()
    for name in TRAIN_STATISTICS:
        np.testing.assert_array_equal(uninterrupted[name], killed[name], err_msg=name)
