"""Dynamic pruning: the expected gradient is that of all samples, nothing else changes, and it resumes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

import datapruning as dp
from datapruning.config.recipe import Recipe, read_recipe
from datapruning.config.toml import to_toml
from datapruning.config.training import TeacherConfig, TrainConfig
from datapruning.data.batching import training_batches
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.loader import Batch, MixedLabels
from datapruning.errors import InvalidValue
from datapruning.io.tensors import load_tensors
from datapruning.runs.context import Context
from datapruning.training.callbacks import Callback
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.infobatch import InfoBatch, epoch_weights
from datapruning.training.losses import CrossEntropy, DistillationLoss, Loss, LossTerms
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_steps
from datapruning.training.state import TrainState
from tests.conftest import fast_options
from tests.helpers.trainers import fit

MakeContext = Callable[..., Context]
PRUNED = TrainConfig(epochs=8, batch_size=16, lr=0.05, infobatch=0.5, infobatch_until=0.75)


def train(context: Context, training: TrainConfig, ids: Any = None, **options: Any) -> tuple[nn.Module, TrainState]:
    """Train a new convnet."""
    ids = np.arange(context.data.total) if ids is None else ids
    model = context.new_model("convnet", 0)
    steps = planned_steps(training, len(ids), context.data.total)
    chosen = {"loss": CrossEntropy(), "seed": 0, "num_steps": steps, "description": "test", **options}
    with reproducible(1):
        train_state = fit(model, context.loader("train"), ids, context.views, training, **chosen)
    return model, train_state


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether the weights are equal bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Presented(Callback):
    """Records the ids of each epoch in order, and their cross-entropies."""

    def __init__(self) -> None:
        self.ids: dict[int, list[int]] = {}
        self.losses: dict[int, dict[int, float]] = {}

    def on_epoch_start(self, epoch: int) -> None:
        self.ids[epoch], self.losses[epoch] = [], {}

    def on_batch_end(self, epoch: int, batch: Batch, logits: Tensor) -> None:
        losses = nn.functional.cross_entropy(logits, batch.labels, reduction="none").tolist()
        self.ids[epoch] += batch.ids.tolist()
        self.losses[epoch] |= dict(zip(batch.ids.tolist(), losses, strict=True))


# The draw


def test_weights_worked_by_hand() -> None:
    losses = np.array([0, 0, 9, 0, 9, 0, np.nan, 0], np.float32)  # mean of the seven known: 2.57; five are easy
    weights = epoch_weights(np.arange(8), losses, 0.5, 0, 3)
    assert weights[[2, 4, 6]].tolist() == [1, 1, 1]
    assert sorted(weights[[0, 1, 3, 5, 7]].tolist()) == pytest.approx([0, 0, 5 / 3, 5 / 3, 5 / 3])  # floor(0.5 * 5) are out


@pytest.mark.parametrize("losses", [[np.nan] * 4, [0.1] * 4, [3.0, 1e-9]])
def test_no_sample_is_skipped_without_known_losses_or_easy_samples(
    losses: list[float],
) -> None:
    weights = epoch_weights(np.arange(len(losses)), np.array(losses, np.float32), 0.9, 0, 0)
    assert weights.tolist() == [1] * len(losses)


def test_the_expected_gradient_is_that_of_all_samples() -> None:
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=23).astype(np.float32)
    gradients = rng.normal(size=(23, 5))
    draws = np.array([epoch_weights(np.arange(23), losses, 0.4, seed, 1) for seed in range(4000)])
    sums = draws @ gradients
    error = sums.std(0) / np.sqrt(len(sums))
    assert (error > 0.005).all(), "the draws differ"
    assert (np.abs(sums.mean(0) - gradients.sum(0)) < 4 * error).all()
    easy = losses < losses.mean()
    assert (draws[:, ~easy] == 1).all()
    np.testing.assert_allclose(draws[:, easy].mean(0), 1, atol=0.06)
    np.testing.assert_allclose((draws[:, easy] == 0).mean(0), int(0.4 * easy.sum()) / easy.sum(), atol=0.04)


@settings(max_examples=60)
@given(st.integers(2, 60), st.floats(0, 0.9), st.integers(0, 2**32 - 1), st.integers(0, 99), st.floats(0.1, 5))
def test_weights_sum_to_n_and_at_least_two_samples_remain(
    n: int, share: float, seed: int, epoch: int, spread: float
) -> None:
    losses = np.random.default_rng(n).lognormal(0, spread, n).astype(np.float32)
    weights = epoch_weights(np.arange(n), losses, share, seed, epoch)
    assert weights.sum(dtype=np.float64) == pytest.approx(n, rel=1e-6)
    assert (weights > 0).sum() >= 2
    assert set(np.flatnonzero(weights != 1)) <= set(np.flatnonzero(losses < losses.mean(dtype=np.float64)))


def test_draws_depend_only_on_seed_and_epoch() -> None:
    losses = np.concatenate([np.zeros(100, np.float32), np.ones(100, np.float32)])
    first, repeated, other_epoch, other_seed = (
        epoch_weights(np.arange(200), losses, 0.5, *key) for key in ((1, 2), (1, 2), (1, 3), (2, 2))
    )
    assert np.array_equal(first, repeated)
    for other in (other_epoch, other_seed):
        both = ((first == 0) & (other == 0)).sum()
        assert 10 < both < 40, "half of 50, if they are independent"


def test_ids_are_never_converted_to_floats_and_their_order_does_not_matter() -> None:
    ids = 2**53 + np.array([1, 3, 5, 7, 9, 11, 4097])
    losses = torch.tensor([0.0, 0, 0, 0, 0, 9, 9], dtype=torch.bfloat16)

    def drawn(order: NDArray[np.int64]) -> tuple[list[int], NDArray[np.int64]]:
        pruning = InfoBatch(ids[order], 0.5, 1.0, 0)
        first_epoch = pruning.begin_epoch(0, 0.0)
        assert first_epoch is not None
        pruning.record_losses(ids[order], losses[order])
        pruning.end_epoch()
        second_epoch = pruning.begin_epoch(1, 0.1)
        assert second_epoch is not None
        assert second_epoch.dtype == np.int64
        assert pruning.weights(ids[5:]).tolist() == [1, 1]
        return second_epoch.tolist(), first_epoch

    second_epoch, first_epoch = drawn(np.arange(7))
    assert first_epoch.tolist() == ids.tolist()
    assert set(second_epoch) < set(ids.tolist())
    assert len(second_epoch) == 5
    assert drawn(np.array([6, 2, 4, 0, 1, 5, 3]))[0] == second_epoch


# The training


def test_easy_samples_are_skipped_between_the_first_epoch_and_the_last_ones(
    make_context: MakeContext, small_dataset: Dataset
) -> None:
    context, epoch_ids = make_context(small_dataset), Presented()
    _, train_state = train(context, PRUNED, callbacks=[epoch_ids])
    all_ids = set(range(small_dataset.total))
    complete_epochs = [epoch for epoch in range(8) if set(epoch_ids.ids[epoch]) == all_ids]
    assert complete_epochs == [0, 6, 7]
    last: dict[int, float] = {}
    for epoch in range(6):
        skipped = all_ids - set(epoch_ids.ids[epoch])
        if epoch:
            mean = np.mean([np.float32(last[i]) for i in all_ids], dtype=np.float64)
            easy = {i for i in all_ids if last[i] < mean}
            assert skipped <= easy
            assert len(skipped) == len(easy) // 2
        last |= epoch_ids.losses[epoch]
    assert all(len(ids) == len(set(ids)) for ids in epoch_ids.ids.values())
    presented = sum(map(len, epoch_ids.ids.values()))
    assert (train_state.samples_seen, train_state.samples_skipped) == (presented, 8 * small_dataset.total - presented)
    assert train_state.updates == sum(-(-len(ids) // 16) for ids in epoch_ids.ids.values()) < train_state.step == 8 * 8
    assert [row.step for row in train_state.history][-1] == train_state.updates


def test_it_trains_as_a_slow_reference_does(make_context: MakeContext, small_dataset: Dataset) -> None:
    context = make_context(small_dataset)
    training = PRUNED.replace(epochs=4, infobatch_until=1.0, momentum=0.0, weight_decay=0.0)
    model, train_state = train(context, training, lr_schedule=lambda step: 0.01)

    slow = context.new_model("convnet", 0)
    losses, ids = np.full(small_dataset.total, np.nan, np.float32), np.arange(small_dataset.total)
    with reproducible(1):
        for epoch in range(4):
            weights = epoch_weights(ids, losses, 0.5, 0, epoch)
            total = hits = 0.0
            for batch, images in context.views.read(
                context.loader("train"), training_batches(ids[weights > 0], 16, 0, epoch), epoch
            ):
                logits, counts = slow(images), torch.from_numpy(weights[batch.ids])
                item = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
                slow.zero_grad()
                (torch.dot(counts, item) / len(item)).backward()  # type: ignore[no-untyped-call]
                with torch.no_grad():
                    for parameter in slow.parameters():
                        assert parameter.grad is not None
                        parameter.sub_(0.01 * parameter.grad)
                item = item.detach()
                losses[batch.ids] = item.numpy()
                total += float((counts * item).sum())
                hits += float((counts * (logits.argmax(1) == batch.labels)).sum())
            assert train_state.history[epoch].loss == pytest.approx(total / small_dataset.total, rel=1e-4)
            assert train_state.history[epoch].train_accuracy == pytest.approx(100 * hits / small_dataset.total, rel=1e-4)
    for actual, expected in zip(model.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)
    assert train_state.samples_skipped > 0


@pytest.mark.parametrize("budget", ["epochs", "steps"])
def test_a_pruned_epoch_passes_its_full_part_of_the_schedule(
    make_context: MakeContext, small_dataset: Dataset, budget: str
) -> None:
    requested_steps: list[int] = []
    epoch_ids = Presented()
    training, ids = PRUNED.replace(epochs=6, budget=budget), np.arange(0, small_dataset.total, 3)  # 40 samples, 3 updates

    def rate(step: int) -> float:
        requested_steps.append(step)
        return 0.01

    _, train_state = train(make_context(small_dataset), training, ids, lr_schedule=rate, callbacks=[epoch_ids])
    steps = planned_steps(training, 40, small_dataset.total)
    assert train_state.step == steps
    assert requested_steps == sorted(set(requested_steps))
    assert requested_steps[-1] == steps - 1
    assert len(requested_steps) == train_state.updates < steps
    for epoch, row in enumerate(train_state.history):
        first = train_state.history[epoch - 1].step if epoch else 0
        actual = requested_steps[first : row.step]
        if len(epoch_ids.ids[epoch]) == 40:
            assert actual == [3 * epoch, 3 * epoch + 1, 3 * epoch + 2]
        else:
            assert all(3 * epoch <= step < 3 * epoch + 3 for step in actual)
    sizes = [16, 16, 8] * steps
    assert train_state.samples_seen + train_state.samples_skipped == sum(sizes[:steps])


def test_a_checkpoint_holds_ids_and_losses(make_context: MakeContext, small_dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "left.safetensors")
    train(make_context(small_dataset), PRUNED, stop_epoch=2, save_final_to=checkpoint)
    tensors, _ = load_tensors(checkpoint.path)
    assert tensors["extra.infobatch.ids"].dtype == torch.int64
    assert tensors["extra.infobatch.losses"].shape == (small_dataset.total,)


def test_samples_that_join_later_are_not_skipped_before_they_are_trained_on(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path
) -> None:
    context, checkpoint, epoch_ids = make_context(small_dataset), Checkpoint(tmp_path / "left.safetensors"), Presented()
    few = np.arange(0, small_dataset.total, 2)
    _, first = train(context, PRUNED, few, stop_epoch=2, save_final_to=checkpoint)
    assert first.samples_skipped > 0
    _, train_state = train(context, PRUNED, init_from=checkpoint, callbacks=[epoch_ids])
    assert set(range(1, small_dataset.total, 2)) <= set(epoch_ids.ids[2])
    assert len(epoch_ids.ids[2]) < small_dataset.total, "the others' losses are known"
    assert train_state.samples_skipped > first.samples_skipped


def test_without_infobatch_no_sample_losses_are_computed(make_context: MakeContext, small_dataset: Dataset) -> None:
    class MeanOnly(CrossEntropy):
        def per_sample(self, logits: Tensor, batch: Batch, epoch: int) -> LossTerms:
            raise AssertionError

    context = make_context(small_dataset)
    off, train_state = train(context, PRUNED.replace(infobatch=0.0), loss=MeanOnly())
    never, also = train(context, PRUNED.replace(infobatch_until=0.0), loss=MeanOnly())
    assert same(off, never)
    assert train_state.samples_skipped == train_state.steps_skipped == also.samples_skipped == 0
    with pytest.raises(AssertionError):
        train(context, PRUNED, loss=MeanOnly())


# Losses of single samples


class Fixed:
    """Soft labels that are equal for every id."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __getitem__(self, key: tuple[NDArray[np.int64], int]) -> Tensor:
        return self.logits


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("teachers", [1, 3])
@pytest.mark.parametrize("weight", [None, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("trust", [False, True])
def test_the_losses_of_the_samples_have_the_objective_as_their_mean(
    mixed: bool, teachers: int, weight: float | None, trust: bool
) -> None:
    rng = torch.Generator().manual_seed(3)
    logits, soft = (torch.randn(*shape, 4, generator=rng).double() * 3 for shape in ((6,), (teachers, 6)))
    labels, share = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 0.3, 0.7, 0.5, 0.9, 0.1]).double()
    batch = Batch(torch.empty(0), labels, np.arange(6), MixedLabels(labels.flip(0), share) if mixed else None)
    objective: Loss = (
        CrossEntropy(0.1) if weight is None else DistillationLoss(Fixed(soft), weight, 3.0, 0.1, confidence_weighting=trust)
    )
    item = objective.per_sample(logits, batch, 0).total
    assert item.shape == (6,)
    torch.testing.assert_close(item.mean(), objective(logits, batch, 0).total)
    single_batch = Batch(torch.empty(0), labels[:1], np.arange(1), MixedLabels(labels[5:], share[:1]) if mixed else None)
    if weight is None:
        torch.testing.assert_close(item[0], objective(logits[:1], single_batch, 0).total)


# Settings


def test_teachers_and_proxies_do_not_inherit_it(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[train]\nepochs = 9\ninfobatch = 0.5\ninfobatch_until = 0.8\n")
    recipe, _ = read_recipe(path)
    assert (recipe.train.infobatch, recipe.train.infobatch_until) == (0.5, 0.8)
    assert recipe.teacher.training == recipe.proxy == TrainConfig(epochs=9)


@pytest.mark.parametrize("change", ["teacher.infobatch=0.5", "proxy.infobatch=0.5", "teacher.infobatch_until=0.5"])
def test_teachers_and_proxies_cannot_have_it(tmp_path: Path, change: str) -> None:
    (tmp_path / "r.toml").write_text("")
    with pytest.raises(InvalidValue, match=r"^(teacher|proxy)\.infobatch\w* is for students"):
        read_recipe(tmp_path / "r.toml", [change])
    with pytest.raises(InvalidValue, match="is for students"):
        Recipe(name="custom", teacher=TeacherConfig(**dict(PRUNED)))


@pytest.mark.parametrize("value", [-0.1, 0.91, 1.0, float("nan")])
def test_invalid_fractions_are_refused(value: float) -> None:
    with pytest.raises(InvalidValue, match="infobatch lies in"):
        TrainConfig(infobatch=value)
    if not 0 <= value <= 1:
        with pytest.raises(InvalidValue, match="infobatch_until lies in"):
            TrainConfig(infobatch_until=value)


def test_recipes_with_and_without_it_round_trip(tmp_path: Path) -> None:
    assert "infobatch" not in to_toml(Recipe(name="r").to_dict())
    recipe = Recipe(name="r", train=PRUNED)
    (tmp_path / "r.toml").write_text(to_toml(recipe.to_dict()))
    assert read_recipe(tmp_path / "r.toml")[0] == recipe


# The verb


@pytest.fixture
def short(make_context: MakeContext, small_dataset: Dataset) -> Context:
    """Settings of six epochs of small batches, two for the teacher."""
    return make_context(
        small_dataset, "train.epochs=6", "train.batch_size=16", "teacher.epochs=2", "kd.search_budget=1", threads=1
    )


@pytest.mark.parametrize(("fraction", "weight"), [(1, 0), (0.5, 0.6), (0.5, "auto"), (1, "auto")])
def test_students_with_and_without_teachers_are_pruned_and_share_the_teacher(
    short: Context, fraction: float, weight: float | str
) -> None:
    usual = dp.train(short, fraction=fraction, kd_weight=weight)
    fewer = dp.train(short.with_train(infobatch=0.5), fraction=fraction, kd_weight=weight)
    assert fewer.folder != usual.folder
    assert usual.result.infobatch is None
    record = fewer.result.infobatch
    assert record is not None
    assert (record.share, record.until) == (0.5, 0.875)
    assert record.samples_skipped > 0
    assert fewer.result.samples_seen + record.samples_skipped == usual.result.samples_seen
    assert fewer.result.costs.train.samples_seen == fewer.result.samples_seen
    assert fewer.result.epochs == usual.result.epochs
    assert fewer.result.teacher == usual.result.teacher
    assert fewer.result.soft_labels_computed == 0
    searches = [run.result.kd_weight_search for run in (usual, fewer)]
    if weight == "auto":
        assert searches[0].samples_seen == searches[1].samples_seen > 0, "probes skip nothing"
    metrics = [json.loads(line) for line in (fewer.folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == fewer.result.steps < usual.result.steps


def test_a_student_killed_during_the_search_ends_with_the_same_bits(
    make_context: MakeContext, small_dataset: Dataset, tmp_path: Path, kill_and_resume: Callable[..., Any]
) -> None:
    """In the shared prefix, in a probe, after the branch point."""
    options = ("train.epochs=6", "train.batch_size=16", "teacher.epochs=1", "kd.search_budget=1", "train.infobatch=0.5")
    uninterrupted = dp.train(make_context(small_dataset, *options, workspace=tmp_path / "whole", threads=1), fraction=0.5)
    context = make_context(small_dataset, *options, workspace=tmp_path / "killed", threads=1)
    dp.teach(context)
    resumed = kill_and_resume(lambda: dp.train(context, fraction=0.5), 6, 5, 14, 5)
    a, b = (load_tensors(run.folder / "model.safetensors")[0] for run in (uninterrupted, resumed))
    assert all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)
    assert resumed.result.infobatch == uninterrupted.result.infobatch


def test_the_option_is_recorded_and_a_run_is_repeated(dprune: Callable[..., Any], tmp_path: Path) -> None:
    more = [*fast_options(), "--set", "train.epochs=4"]
    arguments = ["train", "--data", "digits", "--fraction", "0.2", "--kd-weight", "0", *more]
    assert dprune(*arguments, "--infobatch", "0.5", "--out", tmp_path / "a").code == 0
    assert tomllib.loads((tmp_path / "a" / "config.toml").read_text())["train"]["infobatch"] == 0.5
    repeated = dprune("train", "--recipe", tmp_path / "a" / "config.toml", "--out", tmp_path / "b", "--loader", "memory")
    assert repeated.code == 0, repeated.err
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert models[0] == models[1]
    results = [json.loads((tmp_path / name / "result.json").read_text())["infobatch"] for name in "ab"]
    assert results[0] == results[1]
    assert results[0]["samples_skipped"] > 0


def test_the_command_refuses_an_invalid_fraction(expect_refusal: Callable[..., str]) -> None:
    line = expect_refusal("train", "--data", "digits", "--fraction", "0.5", "--infobatch", "1")
    assert "infobatch lies in 0..0.9; got 1" in line
