"""The trainer, its schedules and its checkpoints: reproducible, resumable, the same with every loader."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.errors import DataPruningError, InvalidFile
from datapruning.evidence.prediction_change import PredictionChange
from datapruning.evidence.recorder import Recorder
from datapruning.evidence.sample_stats import SampleStats
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.runs.context import Context
from datapruning.training.checkpoint import Checkpoint, load_weights
from datapruning.training.evaluate import accuracy, predict
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import learning_rate, planned_epochs, planned_steps
from datapruning.training.state import TrainState
from tests.helpers.trainers import fit

MakeContext = Callable[..., Context]


def train(context: Context, training: TrainConfig, ids: Any = None, **options: Any) -> tuple[nn.Module, TrainState]:
    """Train a new convnet."""
    ids = np.arange(context.data.total) if ids is None else ids
    model = context.new_model("convnet", 0)
    settings: dict[str, Any] = {
        "seed": 0, "num_steps": planned_steps(training, len(ids), context.data.total), "description": "test", **options,
    }  # fmt: skip
    with reproducible(1):
        train_state = fit(model, context.loader("train"), ids, context.views, training, CrossEntropy(), **settings)
    return model, train_state


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether the weights are equal bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


SHORT = TrainConfig(epochs=4, batch_size=16, lr=0.05)


def test_the_same_configuration_gives_the_same_bits(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    first, _ = train(context, SHORT)
    repeated, _ = train(context, SHORT)
    other, _ = train(context, SHORT, seed=1)
    assert same(first, repeated)
    assert not same(first, other)


def test_both_loaders_train_the_same_network(make_context: MakeContext, small_dataset: Dataset) -> None:
    pytest.importorskip("ffcv", reason="FFCV is not installed")
    in_memory, _ = train(make_context(small_dataset, loader="memory"), SHORT)
    ffcv, _ = train(make_context(small_dataset, loader="ffcv"), SHORT)
    assert same(in_memory, ffcv)


def test_stopping_early_does_not_change_the_schedule(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    _, train_state = train(context, SHORT)
    _, early = train(context, SHORT, stop_epoch=2)
    assert early.epoch == 2
    assert [row.loss for row in early.history] == [row.loss for row in train_state.history[:2]]


def test_an_epoch_record_has_its_last_learning_rate(make_context: MakeContext, small_dataset: Dataset) -> None:
    _, train_state = train(make_context(small_dataset), SHORT, lr_schedule=lambda step: 0.001 * (step + 1))
    assert [row.lr for row in train_state.history] == [0.001 * row.step for row in train_state.history]


def test_training_in_two_parts_equals_training_at_once(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path
) -> None:
    context = make_context(small_dataset)
    uninterrupted, train_state = train(context, SHORT)
    checkpoint = Checkpoint(tmp_path / "left.safetensors")
    train(context, SHORT, stop_epoch=2, save_final_to=checkpoint)
    second, repeated = train(context, SHORT, init_from=checkpoint)
    assert same(uninterrupted, second)
    assert (repeated.step, repeated.samples_seen, repeated.epoch) == (
        train_state.step,
        train_state.samples_seen,
        train_state.epoch,
    )
    copy, _ = train(context, SHORT, init_from=checkpoint)  # what was left is not used up
    assert same(uninterrupted, copy)


def test_a_custom_learning_rate_and_fewer_steps(make_context: MakeContext, small_dataset: Dataset, tmp_path: Path) -> None:
    context = make_context(small_dataset)
    checkpoint = Checkpoint(tmp_path / "left.safetensors")
    shared_prefix, train_state = train(context, SHORT, stop_epoch=1, save_final_to=checkpoint)
    requested_steps: list[int] = []

    def rate(step: int) -> float:
        requested_steps.append(step)
        return 0.0

    constant, probed = train(
        context, SHORT.replace(weight_decay=0.0), init_from=checkpoint, num_steps=train_state.step + 3, lr_schedule=rate
    )
    assert requested_steps == [train_state.step, train_state.step + 1, train_state.step + 2]
    assert probed.step == train_state.step + 3
    assert all(torch.equal(a, b) for a, b in zip(shared_prefix.parameters(), constant.parameters(), strict=True))


def test_recording_does_not_change_the_network(make_context: MakeContext, small_dataset: Dataset, tmp_path: Path) -> None:
    context = make_context(small_dataset)
    unrecorded, train_state = train(context, SHORT)
    track = SampleStats(tmp_path / "track", SHORT.epochs, small_dataset.total)
    changes = PredictionChange(tmp_path / "changes", small_dataset.total)
    recorded, _ = train(context, SHORT, callbacks=[Recorder(track, changes)])
    assert same(unrecorded, recorded)
    accuracy = 100 * track["correct"].mean(1)
    np.testing.assert_allclose(accuracy, [row.train_accuracy for row in train_state.history])


def test_training_learns(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    model, train_state = train(context, SHORT.replace(epochs=12))
    assert train_state.history[-1].loss < train_state.history[0].loss / 2
    assert accuracy(model, context.loader("test"), np.arange(len(small_dataset.test)), context.views) > 80


def test_two_kept_samples_and_a_single_last_sample_train(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    _, train_state = train(context, SHORT, ids=np.array([7, 3]))
    assert train_state.samples_seen == 4 * 2
    _, train_state = train(context, SHORT, ids=np.arange(33))
    assert train_state.samples_seen == 4 * 33
    assert train_state.step == 4 * 3  # 16, 9 and 8


def test_the_steps_budget_gives_as_many_steps_as_the_full_data(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    training = SHORT.replace(budget="steps")
    ids = np.arange(20)
    assert planned_steps(training, 20, small_dataset.total) == 4 * math.ceil(small_dataset.total / 16)
    assert planned_epochs(training, 20, small_dataset.total) == math.ceil(
        planned_steps(training, 20, small_dataset.total) / 2
    )
    _, train_state = train(context, training, ids=ids)
    assert train_state.step == planned_steps(training, 20, small_dataset.total)
    assert train_state.epoch == planned_epochs(training, 20, small_dataset.total)


def test_a_non_finite_loss_ends_the_run_with_a_reason(make_context: MakeContext, small_dataset: Dataset) -> None:
    with pytest.raises(DataPruningError, match=r"loss became (nan|inf).*lower the learning rate"):
        train(make_context(small_dataset), SHORT.replace(lr=1e6))


def test_thread_count_and_kernels_are_restored() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), reproducible(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from(["one-cycle", "cosine"]))
def test_learning_rates_stay_within_the_peak_and_never_reach_zero(steps: int, warmup: float, schedule: str) -> None:
    training = TrainConfig.model_validate({"schedule": schedule, "lr": 0.3, "warmup": warmup})
    rates = [learning_rate(training, step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.3 for rate in rates)
    top = int(np.argmax(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_learning_rate_reference_values() -> None:
    one_cycle, cosine = TrainConfig(lr=1.0, warmup=0.2), TrainConfig(lr=1.0, warmup=0.0, schedule="cosine")
    assert learning_rate(one_cycle, 0, 10) == pytest.approx(0.25)  # (0.5 / 10) / 0.2
    assert learning_rate(one_cycle, 9, 10) == pytest.approx(0.0625)  # (1 - 0.95) / 0.8
    assert learning_rate(cosine, 4, 9) == pytest.approx(0.5)  # the middle of half a cosine


def test_predictions_do_not_depend_on_the_number_of_samples(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    model, _ = train(context, SHORT)

    def logits(ids: Any) -> Tensor:
        return torch.cat([part for _, _, part in predict(model, context.loader("train"), ids, context.views, rows=64)])

    all_logits = logits(np.arange(small_dataset.total))
    assert all_logits.shape == (small_dataset.total, 4)
    for count in (1, 3, 64, 65):
        assert torch.equal(logits(np.arange(count)), all_logits[:count])
    assert model.training


def test_checkpoint_tensors_round_trip_and_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"a": torch.arange(6.0).view(2, 3).t()})
    tensors, _ = load_tensors(path)
    assert torch.equal(tensors["a"], torch.arange(6.0).view(2, 3).t())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InvalidFile, match="no whole safetensors file"):
        load_tensors(path)
    with pytest.raises(InvalidFile, match="is not there"):
        load_tensors(tmp_path / "absent")


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"weight": torch.zeros(2, 3)}, "'bias' is missing"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)}, "'extra' is surplus"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, r"'weight' is \[3, 2\], \[2, 3\] is needed"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights: dict[str, Tensor], reason: str) -> None:
    with pytest.raises(InvalidFile, match=reason):
        load_weights(nn.Linear(3, 2), weights, Path("file"))
